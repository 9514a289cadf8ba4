/** One PeerJS connection as a wire: PeerJS opens it, our own channels carry everything. */
import type { DataConnection } from 'peerjs'
import type { BulkChannel } from './bulk-port.ts'
import { NetworkError, type FrameChannel, type Wire, type WireEvents } from './link.ts'
import { fingerprintsOf, type Side } from './proof.ts'
import { frameChannel } from './relay.ts'

/** Both ends create the control channel with this id, as soon as the connection exists. */
const CONTROL_ID = 101
const CHANNELS = {
  frames: { ordered: true },
  spare: { ordered: false, maxRetransmits: 0 },
  bulk: { ordered: true },
} as const satisfies Readonly<Record<string, RTCDataChannelInit>>
type Label = keyof typeof CHANNELS
/** An answer, and a way between the devices, must be found by then, ms. */
const OPEN_MS = 12_000
/** Messages kept until somebody listens, and their longest text: greetings are short. */
const MAX_EARLY = 8
const MAX_EARLY_LENGTH = 1024

/**
 * Waits until the control channel is open. To be called in the task in which the connection
 * came to be.
 * @param onFail lets the caller say that it came to nothing (unknown peer id).
 * @throws NetworkError `absent`, `silent`, `blocked`, `aborted`.
 */
export function openWire(
  connection: DataConnection,
  side: Side,
  signal: AbortSignal,
  onFail: (fail: (error: NetworkError) => void) => void,
): Promise<Wire> {
  const peer = connection.peerConnection
  const control = peer.createDataChannel('control', {
    negotiated: true,
    id: CONTROL_ID,
    ordered: true,
  })
  const wire = new PeerWire(connection, peer, control, side)
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      control.removeEventListener('open', opened)
      peer.removeEventListener('connectionstatechange', changed)
    }
    const fail = (error: NetworkError): void => {
      end()
      wire.close()
      reject(error)
    }
    const abort = (): void => fail(new NetworkError('aborted'))
    const opened = (): void => {
      end()
      resolve(wire)
    }
    const changed = (): void => {
      if (peer.connectionState === 'failed') fail(new NetworkError('blocked'))
    }
    const timer = setTimeout(
      () => fail(new NetworkError(peer.remoteDescription ? 'blocked' : 'silent')),
      OPEN_MS,
    )
    signal.addEventListener('abort', abort)
    control.addEventListener('open', opened)
    peer.addEventListener('connectionstatechange', changed)
    onFail(fail)
    if (signal.aborted) abort()
  })
}

class PeerWire implements Wire {
  readonly remotePeer: string
  readonly #early: unknown[] = []
  #events: WireEvents | null = null
  readonly #awaited = new Map<string, (channel: RTCDataChannel) => void>()
  #ended: 'no' | 'clean' | 'broken' | 'closed' = 'no'

  constructor(
    private readonly connection: DataConnection,
    private readonly peer: RTCPeerConnection,
    private readonly control: RTCDataChannel,
    readonly side: Side,
  ) {
    this.remotePeer = connection.peer
    control.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (this.#events) this.#events.message(data)
      else if (this.#early.length < MAX_EARLY && isShort(data)) this.#early.push(data)
    }
    control.onclose = () => this.#end(peer.connectionState !== 'failed')
    peer.addEventListener('connectionstatechange', this.#onState)
    // PeerJS takes every channel that arrives for its own.
    const theirs = peer.ondatachannel
    peer.ondatachannel = (event) => {
      const { channel } = event
      const { label } = channel
      if (!Object.hasOwn(CHANNELS, label)) {
        theirs?.call(peer, event)
        return
      }
      const take = this.#awaited.get(label)
      this.#awaited.delete(label)
      if (take) take(channel)
      else channel.close()
    }
  }

  get fingerprints(): readonly string[] {
    const { localDescription, remoteDescription } = this.peer
    return [
      ...fingerprintsOf(localDescription?.sdp ?? ''),
      ...fingerprintsOf(remoteDescription?.sdp ?? ''),
    ]
  }

  start(events: WireEvents): void {
    this.#events = events
    for (const data of this.#early.splice(0)) events.message(data)
    if (this.#ended === 'clean' || this.#ended === 'broken')
      events.closed(this.#ended === 'clean')
  }

  send(text: string): void {
    if (this.control.readyState !== 'open') return
    try {
      this.control.send(text)
    } catch {
      // More than the browser buffers: the other end reads nothing any more.
      this.#end(false)
    }
  }

  frames(role: 'open' | 'await', take: (channel: FrameChannel) => void): void {
    this.#channel('frames', role, (channel) => take(frameChannel(channel)))
  }

  spare(role: 'open' | 'await', take: (channel: FrameChannel) => void): void {
    this.#channel('spare', role, (channel) => take(frameChannel(channel)))
  }

  bulk(role: 'open' | 'await', take: (channel: BulkChannel) => void): void {
    this.#channel('bulk', role, (channel) => {
      channel.binaryType = 'arraybuffer'
      take(channel)
    })
  }

  close(): void {
    if (this.#ended === 'closed') return
    this.#ended = 'closed'
    this.control.onmessage = null
    this.control.onclose = null
    this.peer.removeEventListener('connectionstatechange', this.#onState)
    this.#awaited.clear()
    this.#events = null
    this.control.close()
    this.connection.removeAllListeners()
    this.connection.close()
    // PeerJS lets go of a connection that it has closed already.
    this.peer.close()
  }

  #channel(
    label: Label,
    role: 'open' | 'await',
    take: (channel: RTCDataChannel) => void,
  ): void {
    if (this.#ended !== 'no') return
    if (role === 'await') this.#awaited.set(label, take)
    else take(this.peer.createDataChannel(label, CHANNELS[label]))
  }

  readonly #onState = (): void => {
    if (this.peer.connectionState === 'failed') this.#end(false)
  }

  #end(clean: boolean): void {
    if (this.#ended !== 'no') return
    this.#ended = clean ? 'clean' : 'broken'
    this.#events?.closed(clean)
  }
}

function isShort(data: unknown): boolean {
  return typeof data === 'string' && data.length <= MAX_EARLY_LENGTH
}
