/** Response headers of the app: isolation, content security, caching. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Connect, Plugin } from 'vite'

/** Cross-origin isolation: without it a page gets no shared memory, so no WASM threads. */
export const ISOLATION = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
}

/**
 * What the page and its workers may load. Signalling servers and model hosts are chosen at run
 * time, so connections may go to any host, but only encrypted; images may not, so that text
 * written by the model cannot call home.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self'",
  // Lit writes measured widths and colours as style attributes; they can't fetch anything.
  "style-src-attr 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self' https: wss:",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
]

/** For the header, which also governs workers; ONNX Runtime starts threads in its own. */
export const HEADER_POLICY = [...POLICY, "frame-ancestors 'none'"].join('; ')
/** For the page itself, on any static host. */
export const PAGE_POLICY = [...POLICY, "require-trusted-types-for 'script'"].join('; ')

export const SERVED_HEADERS = {
  ...ISOLATION,
  'Content-Security-Policy': HEADER_POLICY,
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
}

/** Writes the policy into index.html when it is built; live reload could not work under it. */
export function contentSecurity(): Plugin {
  return {
    name: 'choir:content-security',
    apply: 'build',
    transformIndexHtml: () => [
      {
        tag: 'meta',
        attrs: { 'http-equiv': 'Content-Security-Policy', content: PAGE_POLICY },
        injectTo: 'head-prepend',
      },
    ],
  }
}

const FOREVER = 'public, max-age=31536000, immutable'

/** How long a file may be kept without asking: for ever where its name is its hash. */
export function cacheControl(path: string): string {
  return /^\/assets\/|^\/models\/(?:.*\/)?shards\//.test(path) ? FOREVER : 'no-cache'
}

/** Cache headers of the built app, and an honest 404 for files that are not there. */
export function caching(): Plugin {
  return {
    name: 'choir:caching',
    configurePreviewServer(server) {
      const { root, build } = server.config
      server.middlewares.use(headersFor(resolve(root, build.outDir)))
    },
  }
}

function headersFor(folder: string): Connect.NextHandleFunction {
  return (request, response, next) => {
    const path = filePath(request.url)
    if (path === null || (isFile(path) && !existsSync(join(folder, path)))) {
      response.writeHead(path === null ? 400 : 404, { ...SERVED_HEADERS }).end()
      return
    }
    response.setHeader('Cache-Control', cacheControl(path))
    next()
  }
}

function filePath(url: string | undefined): string | null {
  try {
    return decodeURI(new URL(url ?? '/', 'http://server').pathname)
  } catch {
    return null
  }
}

/** Other paths are routes of the app and get index.html. */
function isFile(path: string): boolean {
  return /\.\w+$/.test(path)
}
