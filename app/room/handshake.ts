/** Turns a wire into a proven link, or closes it. Nothing else is heard before. */
import type { Clock } from './clock.ts'
import type { Wire } from './link.ts'
import {
  newNonce,
  PROOF_LIMIT_MS,
  proofOf,
  proves,
  type Party,
  type Transcript,
} from './proof.ts'
import type { Random } from './bytes.ts'
import {
  encodeMessage,
  Malformed,
  parseMessage,
  PROTOCOL_VERSION,
  type ByeReason,
  type Message,
} from './protocol.ts'
import type { Secret } from './secret.ts'

export interface Identity {
  /** 128 bits, base64url; kept over reloads. */
  readonly device: string
  /** This page load; a later one sorts later. */
  readonly instance: string
}

export interface HandshakeOptions {
  readonly secret: Secret
  readonly self: Identity
  readonly clock: Clock
  readonly random: Random
  /** Whether there is a proven link to this page load of the device already. */
  readonly isLinked: (remote: Identity) => boolean
  /**
   * Asked at both ends once the proof stands, on the end with the lower device id to choose
   * among several wires; null lets it in. `remoteLinked`: the other end has a link to us.
   */
  readonly objection: (remote: Identity, remoteLinked: boolean) => ByeReason | null
}

export type HandshakeResult =
  | { readonly kind: 'proven'; readonly remote: Identity; readonly opener: boolean }
  | {
      readonly kind: 'refused'
      readonly reason: ByeReason | 'timeout' | 'closed' | 'malformed'
      /** Who said so; null where this end decided. */
      readonly by: 'self' | 'other'
      readonly remote: Identity | null
      /** Whether the other end had proven itself; else anybody may have said so. */
      readonly proven: boolean
    }

/** How long a farewell may take to leave before the wire is closed, ms. */
const FAREWELL_MS = 300

/** Says why, then closes. */
export function farewell(wire: Wire, reason: ByeReason, clock: Clock): void {
  wire.send(encodeMessage({ type: 'bye', reason }))
  clock.after(FAREWELL_MS, () => wire.close())
}

/**
 * Runs the handshake. `onResult` is called once; later events of the wire go to `after`.
 * The wire was not started before.
 */
export function shakeHands(
  wire: Wire,
  options: HandshakeOptions,
  onResult: (result: HandshakeResult) => void,
  after: { message(data: unknown): void; closed(clean: boolean): void },
): void {
  const { secret, self, clock, random, isLinked, objection } = options
  const own: Party = { ...self, nonce: newNonce(random) }
  const send = (message: Message): void => wire.send(encodeMessage(message))
  let state: 'hello' | 'proof' | 'proven' | 'over' = 'hello'
  let remote: Party | null = null

  const finish = (result: HandshakeResult): void => {
    if (state === 'over') return
    state = 'over'
    cancelLimit()
    onResult(result)
  }
  const refuse = (reason: ByeReason | 'timeout' | 'malformed'): void => {
    if (reason === 'timeout' || reason === 'malformed') wire.close()
    else farewell(wire, reason, clock)
    finish({ kind: 'refused', reason, by: 'self', remote, proven: state === 'proven' })
  }
  const cancelLimit = clock.after(PROOF_LIMIT_MS, () => refuse('timeout'))

  const transcript = (other: Party): Transcript => ({
    fingerprints: wire.fingerprints,
    caller: wire.side === 'caller' ? own : other,
    answerer: wire.side === 'caller' ? other : own,
  })

  const hear = (message: Message): void => {
    if (message.type === 'bye') {
      wire.close()
      const proven = state === 'proven'
      finish({ kind: 'refused', reason: message.reason, by: 'other', remote, proven })
    } else if (state === 'hello' && message.type === 'hello') {
      const { device, instance, nonce } = message
      if (message.version !== PROTOCOL_VERSION) {
        refuse('version')
        return
      }
      // An echo of our own greeting must not become a proof of itself.
      if (nonce === own.nonce) {
        refuse('unproven')
        return
      }
      remote = { device, instance, nonce }
      state = 'proof'
      const mac = proofOf(secret, wire.side, transcript(remote))
      send({ type: 'proof', mac, linked: isLinked(remote) })
    } else if (state === 'proof' && message.type === 'proof' && remote) {
      const other = wire.side === 'caller' ? 'answerer' : 'caller'
      if (!proves(secret, other, transcript(remote), message.mac)) {
        refuse('unproven')
        return
      }
      state = 'proven'
      if (remote.device === self.device) {
        // Our own page opened a second time, or we are that second one.
        if (remote.instance < self.instance) {
          refuse('replaced')
          return
        }
        return
      }
      const reason = objection(remote, message.linked)
      if (reason) {
        refuse(reason)
        return
      }
      if (self.device < remote.device) send({ type: 'accept' })
    } else if (state === 'proven' && remote && message.type === 'accept') {
      if (self.device <= remote.device) {
        refuse('malformed')
        return
      }
      send({ type: 'accepted' })
      finish({ kind: 'proven', remote, opener: false })
    } else if (state === 'proven' && remote && message.type === 'accepted') {
      if (self.device >= remote.device) {
        refuse('malformed')
        return
      }
      finish({ kind: 'proven', remote, opener: true })
    } else {
      refuse('malformed')
    }
  }

  wire.start({
    message(data) {
      if (state === 'over') {
        after.message(data)
        return
      }
      const message = parseMessage(data)
      if (message instanceof Malformed) refuse('malformed')
      else hear(message)
    },
    closed(clean) {
      if (state === 'over') after.closed(clean)
      else {
        const proven = state === 'proven'
        finish({ kind: 'refused', reason: 'closed', by: 'other', remote, proven })
      }
    },
  })
  send({
    type: 'hello',
    version: PROTOCOL_VERSION,
    device: own.device,
    instance: own.instance,
    nonce: own.nonce,
  })
}
