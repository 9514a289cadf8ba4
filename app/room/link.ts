/** Connections between devices, as the room needs them. Implemented by peer-link.ts. */
import type { BulkChannel } from './bulk-port.ts'
import type { Side } from './proof.ts'

/** Carries frames: the data channel itself where it can move, else a port to a relay. */
export type FrameChannel = RTCDataChannel | MessagePort

export interface WireEvents {
  /** Whatever came on the control channel. */
  message(data: unknown): void
  /**
   * Once, unless this end closed it. `clean`: the other end closed it; else it broke.
   */
  closed(clean: boolean): void
}

/** One open connection to another page; nothing is known about who that is. */
export interface Wire {
  readonly side: Side
  /** Peer id at the other end, as the signalling server told it. */
  readonly remotePeer: string
  /** DTLS fingerprints of both ends. */
  readonly fingerprints: readonly string[]
  /** From now on events come, first what came before. Called once. */
  start(events: WireEvents): void
  /** Sends on the control channel; on a closed wire it does nothing. */
  send(text: string): void
  /**
   * The frames channel, once the proof stands: one end opens it, the other awaits it.
   * @param take called in the task in which the channel came to be (it can be transferred
   * to a worker in no later one).
   */
  frames(role: 'open' | 'await', take: (channel: FrameChannel) => void): void
  /** A second channel for frames, on which messages may get lost; as `frames`. */
  spare(role: 'open' | 'await', take: (channel: FrameChannel) => void): void
  /** The channel for shards, once the proof stands; as `frames`, but it stays on the page. */
  bulk(role: 'open' | 'await', take: (channel: BulkChannel) => void): void
  /** Idempotent; removes all listeners. */
  close(): void
}

/** Why there is no connection. */
export type NetworkErrorKind =
  /** Somebody else is registered under this peer id. */
  | 'taken'
  /** No signalling server. */
  | 'unreachable'
  /** This browser has no WebRTC. */
  | 'unsupported'
  /** Nobody is registered under this peer id. */
  | 'absent'
  /** Registered, but no answer came: asleep, or gone without a goodbye. */
  | 'silent'
  /** An answer came, yet no way between the two devices was found. */
  | 'blocked'
  | 'aborted'

/** For people whose browser has no WebRTC. */
export const UNSUPPORTED =
  'This browser cannot connect to other phones. Open the link in an up-to-date Safari, Chrome or Firefox.'

export class NetworkError extends Error {
  override readonly name = 'NetworkError'
  constructor(
    readonly kind: NetworkErrorKind,
    message: string = kind,
  ) {
    super(message)
  }
}

export interface StationEvents {
  /** Somebody connected. */
  wire(wire: Wire): void
  /** The peer id is lost for good (somebody has it now); wires live on. */
  lost(): void
  /** Whether the signalling server is reached at the moment. */
  online(online: boolean): void
}

/** This device under one peer id. */
export interface Station {
  readonly peer: string
  /** @throws NetworkError `unreachable`, `absent`, `silent`, `blocked`, `aborted`. */
  connect(peer: string, signal: AbortSignal): Promise<Wire>
  /** Gives the peer id back. Wires live on where the network can keep them. */
  close(): void
}

export interface Network {
  /** @throws NetworkError `taken`, `unreachable`, `unsupported`, `aborted`. */
  listen(peer: string, events: StationEvents, signal: AbortSignal): Promise<Station>
}
