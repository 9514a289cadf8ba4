/** Serves the built app, its models and its signalling on one origin. */
import { join } from 'node:path'
import { preview, type PluginOption, type PreviewServer } from 'vite'
import { ROOT } from './build.ts'
import type { Certificate } from './certificate.ts'

export interface ServeOptions {
  /** `loopback`: only this computer; `lan`: every network that it is on. */
  readonly reach: 'loopback' | 'lan'
  /** The first port to try; 0: any free one. */
  readonly port: number
  /** Needed by phones: without TLS their browsers withhold camera, storage and WebGPU. */
  readonly certificate?: Certificate
  readonly plugins?: PluginOption[]
}

export interface Serving {
  readonly port: number
  close(): Promise<void>
}

export async function serve(options: ServeOptions): Promise<Serving> {
  const { certificate } = options
  const server = await preview({
    configFile: join(ROOT, 'vite.config.ts'),
    logLevel: 'warn',
    plugins: [options.plugins ?? [], certificate ? authorityFile(certificate) : []],
    preview: {
      host: options.reach === 'lan' ? true : '127.0.0.1',
      port: options.port,
      ...(certificate && { https: { cert: certificate.cert, key: certificate.key } }),
    },
  })
  return { port: portOf(server), close: () => server.close() }
}

export const AUTHORITY_FILE = '/choir-ca.crt'

/** For phones that shall trust this computer. */
function authorityFile({ authority }: Certificate): PluginOption {
  return {
    name: 'choir:authority-file',
    enforce: 'pre',
    configurePreviewServer(server) {
      server.middlewares.use(AUTHORITY_FILE, (_request, response) => {
        response.setHeader('Content-Type', 'application/x-x509-ca-cert')
        response.setHeader('Cache-Control', 'no-cache')
        response.end(authority)
      })
    },
  }
}

function portOf(server: PreviewServer): number {
  const address = server.httpServer.address()
  if (!address || typeof address === 'string') throw new Error('The server has no port.')
  return address.port
}
