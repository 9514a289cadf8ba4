/** Serves the peers' packages, models and one empty page each, cross-origin isolated. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { ROOT } from '../../app/serve/build.ts'
import { ISOLATION } from '../../app/serve/headers.ts'

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
}

/** transformers.js names its runtime by package; pages find packages by this map. */
const PAGE = `<!doctype html><meta charset="utf-8"><title>peer</title>
<script type="importmap">${JSON.stringify({
  imports: {
    'onnxruntime-web/webgpu': '/packages/onnxruntime-web/dist/ort.webgpu.bundle.min.mjs',
    'onnxruntime-common': '/packages/onnxruntime-common/dist/esm/index.js',
    '@huggingface/tokenizers': '/packages/@huggingface/tokenizers/dist/tokenizers.mjs',
    '@huggingface/jinja': '/packages/@huggingface/jinja/dist/index.js',
  },
})}</script>`

export interface PeerServer {
  readonly origin: string
  close(): Promise<void>
}

/** @param models folder or file by name below `/models/`. */
export async function servePeers(
  models: Readonly<Record<string, string>>,
): Promise<PeerServer> {
  const server = createServer((request, response) => {
    void answer(new URL(request.url ?? '/', 'http://server').pathname, response)
  })
  const answer = async (path: string, response: ServerResponse): Promise<void> => {
    for (const [name, value] of Object.entries(ISOLATION)) response.setHeader(name, value)
    if (path === '/') {
      response.writeHead(200, { 'Content-Type': 'text/html' }).end(PAGE)
      return
    }
    const file = fileFor(path, models)
    const size = file === null ? null : await sizeOf(file)
    if (file === null || size === null) {
      response.writeHead(404).end()
      return
    }
    response.writeHead(200, {
      'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
      'Content-Length': size,
    })
    createReadStream(file).pipe(response)
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (!address || typeof address === 'string') throw new Error('The server has no port.')
  return {
    origin: `http://127.0.0.1:${address.port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function fileFor(path: string, models: Readonly<Record<string, string>>): string | null {
  const [, kind, name = '', ...rest] = normalize(decodeURI(path)).split('/')
  if (kind === 'packages') return join(ROOT, 'node_modules', name, ...rest)
  const model = kind === 'models' ? models[name] : undefined
  return model === undefined ? null : join(model, ...rest)
}

async function sizeOf(file: string): Promise<number | null> {
  try {
    const found = await stat(file)
    return found.isFile() ? found.size : null
  } catch {
    return null
  }
}
