/** Peer ids and connections by PeerJS, which only signals. */
import type { Peer } from 'peerjs'
import {
  NetworkError,
  type Network,
  type Station,
  type StationEvents,
  type Wire,
} from './link.ts'
import { openWire } from './peer-wire.ts'
import type { Lifecycle } from './lifecycle.ts'

export interface PeerNetworkOptions {
  readonly host: string
  readonly port: number
  /** Where the PeerServer is mounted. */
  readonly path: string
  readonly secure: boolean
  /** STUN and TURN; none by default: phones in one room need neither. */
  readonly iceServers?: readonly RTCIceServer[]
  readonly lifecycle: Lifecycle
}

const OPEN_MS = 8000
const RECONNECT_MS = [1000, 2000, 5000, 10_000, 30_000] as const

/** A PeerServer on the page's own origin, at `/peer`. */
export function sameOriginServer(
  location: Pick<Location, 'hostname' | 'port' | 'protocol'>,
): Pick<PeerNetworkOptions, 'host' | 'port' | 'path' | 'secure'> {
  const secure = location.protocol === 'https:'
  const port = location.port === '' ? (secure ? 443 : 80) : Number(location.port)
  return { host: location.hostname, port, path: '/peer', secure }
}

export class PeerNetwork implements Network {
  constructor(private readonly options: PeerNetworkOptions) {}

  async listen(id: string, events: StationEvents, signal: AbortSignal): Promise<Station> {
    if (!('RTCPeerConnection' in globalThis)) throw new NetworkError('unsupported')
    const { Peer } = await import('peerjs')
    const { host, port, path, secure, iceServers = [], lifecycle } = this.options
    const options = {
      host,
      port,
      path,
      secure,
      debug: 0,
      config: { iceServers: [...iceServers] },
    }
    if (signal.aborted) throw new NetworkError('aborted')
    // Their types ask for an instance of a class that the package does not export as such.
    // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
    const peer = new Peer(id, options)
    await opened(peer, signal)
    return new PeerStation(peer, id, events, lifecycle)
  }
}

function opened(peer: Peer, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (error: NetworkError | null): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      peer.removeAllListeners()
      if (!error) {
        resolve()
        return
      }
      peer.destroy()
      reject(error)
    }
    const abort = (): void => end(new NetworkError('aborted'))
    const timer = setTimeout(() => end(new NetworkError('unreachable')), OPEN_MS)
    signal.addEventListener('abort', abort)
    peer.on('open', () => end(null))
    peer.on('error', ({ type, message }) => {
      const taken = type === 'unavailable-id'
      end(new NetworkError(taken ? 'taken' : 'unreachable', message))
    })
  })
}

class PeerStation implements Station {
  /** Calls that wait for an answer, by peer id. */
  readonly #calls = new Map<string, (error: NetworkError) => void>()
  readonly #arriving = new AbortController()
  readonly #unlisten: () => void
  #retry: ReturnType<typeof setTimeout> | null = null
  #failures = 0
  #closed = false

  constructor(
    private readonly server: Peer,
    readonly peer: string,
    private readonly events: StationEvents,
    lifecycle: Lifecycle,
  ) {
    server.on('connection', (connection) => {
      openWire(connection, 'answerer', this.#arriving.signal, () => undefined).then(
        (wire) => this.events.wire(wire),
        // A caller that gave up; it calls again if it wants to.
        () => undefined,
      )
    })
    server.on('open', () => {
      this.#failures = 0
      this.#cancelRetry()
      this.events.online(true)
    })
    server.on('disconnected', () => this.#onDisconnected())
    server.on('error', ({ type, message }) => {
      if (type === 'peer-unavailable') {
        for (const [peer, fail] of this.#calls)
          if (message.endsWith(` ${peer}`)) fail(new NetworkError('absent'))
      } else if (type === 'unavailable-id' && !this.#closed) {
        // While it was away its id was given to somebody else; connections live on.
        this.#closed = true
        this.#unlisten()
        this.#cancelRetry()
        this.events.lost()
      }
    })
    this.#unlisten = lifecycle.onShow(() => this.#reconnect())
  }

  async connect(peer: string, signal: AbortSignal): Promise<Wire> {
    if (this.#closed || this.server.disconnected) throw new NetworkError('unreachable')
    // A call of the same id replaces an older one.
    this.#calls.get(peer)?.(new NetworkError('aborted'))
    const options = { serialization: 'raw', reliable: true }
    // PeerJS gives none where the server was lost in the meantime, whatever its types say.
    const connection = this.server.connect(peer, options) as ReturnType<
      Peer['connect']
    > | null
    if (!connection) throw new NetworkError('unreachable')
    const own = new AbortController()
    try {
      return await openWire(connection, 'caller', signal, (fail) => {
        this.#calls.set(peer, fail)
        own.signal.addEventListener('abort', () => {
          if (this.#calls.get(peer) === fail) this.#calls.delete(peer)
        })
      })
    } finally {
      own.abort()
    }
  }

  close(): void {
    this.#closed = true
    this.#unlisten()
    this.#cancelRetry()
    this.#arriving.abort()
    for (const fail of [...this.#calls.values()]) fail(new NetworkError('aborted'))
    this.server.removeAllListeners()
    // Not `destroy`: that would close connections which outlive the peer id.
    this.server.disconnect()
  }

  #onDisconnected(): void {
    if (this.#closed) return
    this.events.online(false)
    this.#cancelRetry()
    const ms = RECONNECT_MS[Math.min(this.#failures, RECONNECT_MS.length - 1)]
    this.#failures += 1
    this.#retry = setTimeout(() => this.#reconnect(), ms)
  }

  #reconnect(): void {
    if (this.#closed || !this.server.disconnected || this.server.destroyed) return
    this.#cancelRetry()
    // An id whose old socket still lives is taken over without a word: ask again then.
    this.#retry = setTimeout(() => this.server.disconnect(), OPEN_MS)
    this.server.reconnect()
  }

  #cancelRetry(): void {
    if (this.#retry !== null) clearTimeout(this.#retry)
    this.#retry = null
  }
}
