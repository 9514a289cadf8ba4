/**
 * Joining with six letters: they are no secret and open nothing, they only let one knock.
 * The coordinator hears it; anybody in the room may let the guest in, after comparing six
 * digits with the guest's screen.
 */
import { toBase64url, toHex, fromBase64url, type Random } from './bytes.ts'
import type { Clock } from './clock.ts'
import { TokenBucket } from './limits.ts'
import {
  NetworkError,
  UNSUPPORTED,
  type Network,
  type Station,
  type Wire,
} from './link.ts'
import { commitmentOf, digitsOf, newNonce } from './proof.ts'
import {
  asLine,
  encodeMessage,
  Malformed,
  parseMessage,
  PROTOCOL_VERSION,
  type DenialReason,
  type Message,
} from './protocol.ts'
import { knockIds, parseCode, SECRET_BYTES, type Secret } from './secret.ts'
import type { Knock } from './types.ts'

/** Knocks per minute and code. */
export const KNOCKS_PER_MINUTE = 3
/** Who is not let in by then is sent away, ms. */
export const KNOCK_LIMIT_MS = 60_000
const RETRY_MS = 10_000
const FAREWELL_MS = 300

export interface DoorOptions {
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  readonly code: string
}

interface Guest {
  readonly wire: Wire
  readonly knock: Knock
}

/** The coordinator's side. */
export class KnockDesk {
  readonly #guests = new Map<string, Guest>()
  readonly #pending = new Set<Wire>()
  readonly #bucket: TokenBucket
  #open: AbortController | null = null
  #station: Station | null = null

  constructor(
    private readonly options: DoorOptions & { readonly secret: Secret },
    private readonly onChange: (knocks: readonly Knock[]) => void,
  ) {
    this.#bucket = new TokenBucket(
      options.clock,
      KNOCKS_PER_MINUTE,
      KNOCKS_PER_MINUTE / 60,
    )
  }

  get knocks(): readonly Knock[] {
    return [...this.#guests.values()].map((guest) => guest.knock)
  }

  /** Listens, or stops listening. Idempotent. */
  listen(wanted: boolean): void {
    if (wanted === (this.#open !== null)) return
    if (wanted) {
      this.#open = new AbortController()
      void this.#claim(this.#open.signal)
      return
    }
    this.#open?.abort()
    this.#open = null
    for (const wire of this.#pending) wire.close()
    this.#pending.clear()
    this.#guests.clear()
    this.#station?.close()
    this.#station = null
    this.onChange([])
  }

  /** Somebody in the room has decided. */
  decide(knock: string, allow: boolean): void {
    const guest = this.#guests.get(knock)
    if (!guest) return
    if (allow) {
      const secret = toBase64url(this.options.secret)
      this.#finish(guest.wire, { type: 'admitted', secret })
    } else {
      this.#deny(guest.wire, 'denied')
    }
  }

  async #claim(signal: AbortSignal): Promise<void> {
    const { network, clock, code } = this.options
    for (const peer of knockIds(code)) {
      try {
        const station = await network.listen(
          peer,
          {
            wire: (wire) => {
              if (signal.aborted) wire.close()
              else this.#receive(wire)
            },
            online: () => undefined,
            lost: () => {
              this.#station = null
              if (!signal.aborted) void this.#claim(signal)
            },
          },
          signal,
        )
        if (signal.aborted) station.close()
        else this.#station = station
        return
      } catch (error) {
        const kind = error instanceof NetworkError ? error.kind : null
        if (kind === 'unsupported') return
        if (kind !== 'taken') break
      }
    }
    if (signal.aborted) return
    const cancel = clock.after(RETRY_MS, () => void this.#claim(signal))
    signal.addEventListener('abort', cancel, { once: true })
  }

  #receive(wire: Wire): void {
    const { clock, random, code } = this.options
    const again = [...this.#pending].some((other) => other.remotePeer === wire.remotePeer)
    if (again || this.#pending.size >= KNOCKS_PER_MINUTE) {
      wire.close()
      return
    }
    this.#pending.add(wire)
    const nonce = newNonce(random)
    let knocked: { readonly name: string; readonly commitment: string } | null = null
    let shown = false
    const cancelLimit = clock.after(KNOCK_LIMIT_MS, () => this.#deny(wire, 'timeout'))
    const hear = (message: Message): void => {
      if (message.type === 'knock' && !knocked) {
        if (message.version !== PROTOCOL_VERSION || !this.#bucket.take()) {
          this.#deny(wire, 'busy')
          return
        }
        knocked = { name: message.name, commitment: message.commitment }
        wire.send(encodeMessage({ type: 'knock-nonce', nonce }))
      } else if (message.type === 'knock-reveal' && knocked && !shown) {
        if (commitmentOf(message.nonce) !== knocked.commitment) {
          this.#deny(wire, 'denied')
          return
        }
        shown = true
        const id = toBase64url(random(16))
        const digits = digitsOf(wire.fingerprints, code, message.nonce, nonce)
        this.#guests.set(id, { wire, knock: { id, name: knocked.name, digits } })
        this.onChange(this.knocks)
      } else {
        this.#remove(wire)
        wire.close()
      }
    }
    wire.start({
      message: (data) => {
        if (!this.#pending.has(wire)) return
        const message = parseMessage(data)
        if (message instanceof Malformed) {
          this.#remove(wire)
          wire.close()
        } else hear(message)
      },
      closed: () => {
        cancelLimit()
        this.#remove(wire)
      },
    })
  }

  #deny(wire: Wire, reason: DenialReason): void {
    if (this.#pending.has(wire)) this.#finish(wire, { type: 'denied', reason })
  }

  #finish(wire: Wire, message: Message): void {
    wire.send(encodeMessage(message))
    this.options.clock.after(FAREWELL_MS, () => wire.close())
    this.#remove(wire)
  }

  #remove(wire: Wire): void {
    this.#pending.delete(wire)
    const found = [...this.#guests].find(([, guest]) => guest.wire === wire)
    if (!found) return
    this.#guests.delete(found[0])
    this.onChange(this.knocks)
  }
}

const DENIALS: Record<DenialReason, string> = {
  denied: 'The room did not let this phone in. Ask the people there for the link.',
  busy: 'Too many phones have knocked at this room just now. Wait a minute and try again.',
  timeout: 'Nobody in the room answered the knock. Ask somebody to look at their screen.',
}

/**
 * The guest's side: knocks and waits.
 * @param onDigits what this screen is to show; the people in the room see the same.
 * @returns the room's secret.
 * @throws Error with one sentence for people.
 */
export async function knockAt(
  options: DoorOptions & { readonly name: string },
  signal: AbortSignal,
  onDigits: (digits: string) => void,
): Promise<Secret> {
  const { network, random } = options
  const code = parseCode(options.code)
  if (code === null)
    throw new Error('This is no room code: it has six letters, none of them I or O.')
  const done = new AbortController()
  const stop = (): void => done.abort()
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  let station: Station | null = null
  let wire: Wire | null = null
  try {
    station = await network.listen(
      `choir-guest-${toHex(random(16))}`,
      {
        wire: (stranger) => stranger.close(),
        online: () => undefined,
        lost: () => undefined,
      },
      done.signal,
    )
    wire = await callFirst(station, knockIds(code), done.signal)
    return await converse(wire, { ...options, code }, signal, onDigits)
  } catch (error) {
    if (error instanceof NetworkError) throw new Error(whyNot(error), { cause: error })
    throw error
  } finally {
    signal.removeEventListener('abort', stop)
    done.abort()
    wire?.close()
    station?.close()
  }
}

/** The first of the peer ids that opens; the other wires are closed. */
async function callFirst(
  station: Station,
  peers: readonly string[],
  signal: AbortSignal,
): Promise<Wire> {
  let first: Wire | null = null
  const calls = peers.map(async (peer) => {
    const wire = await station.connect(peer, signal)
    if (first) wire.close()
    first ??= wire
    return first
  })
  try {
    return await Promise.any(calls)
  } catch (error) {
    const causes: unknown[] = error instanceof AggregateError ? error.errors : [error]
    const kinds = causes.flatMap((cause) =>
      cause instanceof NetworkError ? [cause] : [],
    )
    const telling = kinds.find(({ kind }) => kind !== 'absent') ?? kinds[0]
    throw telling ?? new NetworkError('absent')
  }
}

function converse(
  wire: Wire,
  { clock, random, code, name }: DoorOptions & { readonly name: string },
  signal: AbortSignal,
  onDigits: (digits: string) => void,
): Promise<Secret> {
  return new Promise((resolve, reject) => {
    const nonce = newNonce(random)
    let revealed = false
    const cancelLimit = clock.after(KNOCK_LIMIT_MS + 5000, () => fail(DENIALS.timeout))
    const abort = (): void => fail('You stopped knocking.')
    const end = (): void => {
      cancelLimit()
      signal.removeEventListener('abort', abort)
    }
    function fail(sentence: string): void {
      end()
      reject(new Error(sentence))
    }
    signal.addEventListener('abort', abort)
    const hear = (message: Message): void => {
      if (message.type === 'knock-nonce' && !revealed) {
        revealed = true
        wire.send(encodeMessage({ type: 'knock-reveal', nonce }))
        onDigits(digitsOf(wire.fingerprints, code, nonce, message.nonce))
      } else if (message.type === 'admitted' && revealed) {
        const secret = fromBase64url(message.secret, SECRET_BYTES)
        end()
        if (secret) resolve(secret)
        else reject(new Error('The room sent a secret that cannot be read. Knock again.'))
      } else if (message.type === 'denied') fail(DENIALS[message.reason])
    }
    wire.start({
      message(data) {
        const message = parseMessage(data)
        if (!(message instanceof Malformed)) hear(message)
      },
      closed: () => fail('The phone at the door is gone. Knock again.'),
    })
    wire.send(
      encodeMessage({
        type: 'knock',
        version: PROTOCOL_VERSION,
        name: asLine(name, 40),
        commitment: commitmentOf(nonce),
      }),
    )
  })
}

function whyNot({ kind }: NetworkError): string {
  switch (kind) {
    case 'unreachable':
      return 'The server that brings phones together cannot be reached. Check the Wi-Fi and try again.'
    case 'blocked':
      return 'A phone in the room answered, but the Wi-Fi keeps the phones apart. Use a hotspot or another Wi-Fi.'
    case 'unsupported':
      return UNSUPPORTED
    case 'aborted':
      return 'You stopped knocking.'
    case 'taken':
    case 'absent':
    case 'silent':
      return 'No room answers to this code. Check the six letters on the other screen.'
  }
}
