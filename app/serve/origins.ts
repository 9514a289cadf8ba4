/** Under which addresses other devices reach this server. */
import type { AddressInfo } from 'node:net'
import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os'
import type { Connect, HttpServer, Plugin } from 'vite'

type Interfaces = NodeJS.Dict<NetworkInterfaceInfo[]>

const VIRTUAL =
  /^(?:docker|br-|veth|virbr|vmnet|vboxnet|tun|tap|utun|wg|tailscale|zt|cni)/i

/**
 * IPv4 addresses of this computer on its networks, the likeliest one first: real network
 * cards before virtual ones, home and office networks before others.
 */
export function lanAddresses(interfaces: Interfaces = networkInterfaces()): string[] {
  const found = Object.entries(interfaces).flatMap(([name, addresses]) =>
    (addresses ?? [])
      .filter((entry) => entry.family === 'IPv4' && !entry.internal)
      .filter((entry) => !entry.address.startsWith('169.254.'))
      .map(({ address }) => ({ address, rank: rank(name, address) })),
  )
  return found.sort((a, b) => a.rank - b.rank).map(({ address }) => address)
}

function rank(name: string, address: string): number {
  const networks = [/^192\.168\./, /^10\./, /^172\.(?:1[6-9]|2\d|3[01])\./]
  const network = networks.findIndex((pattern) => pattern.test(address))
  return (VIRTUAL.test(name) ? 10 : 0) + (network < 0 ? networks.length : network)
}

/** Origins that a phone can open, best first; none when only this computer can. */
export function reachableOrigins(
  address: AddressInfo,
  secure: boolean,
  addresses: readonly string[] = lanAddresses(),
): string[] {
  const everywhere = address.address === '::' || address.address === '0.0.0.0'
  // Without TLS a phone's browser withholds what Choir needs: camera, storage, WebGPU.
  if (!secure) return []
  return addresses
    .filter((ip) => everywhere || ip === address.address)
    .map((ip) => `https://${ip}:${address.port}`)
}

export const ORIGIN_FILE = '/choir-origin.json'

/** Answers `/choir-origin.json` with `{origins: string[]}`, so that links lead somewhere. */
export function originFile(): Plugin {
  return {
    name: 'choir:origin-file',
    configureServer: ({ config, httpServer, middlewares }) => {
      middlewares.use(ORIGIN_FILE, answer(httpServer, Boolean(config.server.https)))
    },
    configurePreviewServer: ({ config, httpServer, middlewares }) => {
      middlewares.use(ORIGIN_FILE, answer(httpServer, Boolean(config.preview.https)))
    },
  }
}

function answer(
  server: HttpServer | null,
  secure: boolean,
): Connect.SimpleHandleFunction {
  return (_request, response) => {
    const address = server?.address()
    const origins =
      address && typeof address === 'object' ? reachableOrigins(address, secure) : []
    response.setHeader('Content-Type', 'application/json')
    response.setHeader('Cache-Control', 'no-store')
    response.end(JSON.stringify({ origins }))
  }
}
