/**
 * How devices of a room find one another: 16 peer ids follow from the secret; a member
 * claims the lowest free one, and whoever arrives tries all the others. No device is special:
 * the room can be joined as long as one member is there.
 */
import { toHex, type Random } from './bytes.ts'
import { pause, type Clock } from './clock.ts'
import {
  NetworkError,
  type Network,
  type NetworkErrorKind,
  type Station,
  UNSUPPORTED,
  type Wire,
} from './link.ts'

/** What became of one try to reach a slot. */
export type Outcome = 'connected' | NetworkErrorKind

export interface RendezvousOptions {
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  /** The room's peer ids, lowest slot first. */
  readonly slots: readonly string[]
}

export interface RendezvousEvents {
  wire(wire: Wire): void
  /** Peer ids that need no call: linked already, or about to be. */
  known(): ReadonlySet<string>
  /** Whether somebody who belongs here is missing: then all slots are tried again. */
  incomplete(): boolean
  /** Whether the signalling server is reached. */
  online(online: boolean): void
  /** This browser can't connect at all; nothing more is tried. */
  unsupported(): void
}

const RETRY_MS = [1000, 2000, 4000, 8000, 15_000, 30_000] as const
/** Pauses between calls while somebody is missing. */
const SWEEP_MS = [1500, 3000, 6000, 12_000, 20_000, 30_000] as const

export class Rendezvous {
  readonly #end = new AbortController()
  #station: Station | null = null
  #sweeping: Promise<Map<string, Outcome>> | null = null
  #wake: (() => void) | null = null
  #round = 0
  #forced = false
  #unsupported = false

  constructor(
    private readonly options: RendezvousOptions,
    private readonly events: RendezvousEvents,
  ) {}

  /** The peer id that this device holds. */
  get peer(): string | null {
    return this.#station?.peer ?? null
  }

  /**
   * Claims a slot and calls the others once. Goes on in the background: claims again when
   * the slot is lost, and calls again while somebody is missing.
   * @returns what became of each call; the same for all where there is no server or no WebRTC.
   */
  async start(): Promise<Map<string, Outcome>> {
    const claimed = await this.#claim()
    if (this.#unsupported)
      return new Map(this.options.slots.map((slot) => [slot, 'unsupported' as const]))
    if (!claimed) void this.#claimLater()
    const outcomes = claimed
      ? await this.sweep()
      : new Map(this.options.slots.map((slot) => [slot, 'unreachable' as const]))
    void this.#watch()
    return outcomes
  }

  /** Calls all slots that are not known; one round at a time. */
  sweep(): Promise<Map<string, Outcome>> {
    this.#sweeping ??= this.#callAll().finally(() => (this.#sweeping = null))
    return this.#sweeping
  }

  /** The page came back or somebody was lost: look again soon. */
  nudge(): void {
    this.#round = 0
    this.#forced = true
    this.#wake?.()
  }

  /** Idempotent. */
  close(): void {
    this.#end.abort()
    this.#wake?.()
    this.#station?.close()
    this.#station = null
  }

  #over(): boolean {
    return this.#end.signal.aborted
  }

  /** False where the signalling server cannot be reached, or no other device. */
  async #claim(): Promise<boolean> {
    const { network, slots, random } = this.options
    const { signal } = this.#end
    // All taken: by a full room, or by devices that vanished. Callers need no slot.
    const spare = `choir-guest-${toHex(random(16))}`
    for (const peer of [...slots, spare]) {
      if (this.#over()) return false
      try {
        const station = await network.listen(
          peer,
          {
            wire: (wire) => {
              if (this.#over()) wire.close()
              else this.events.wire(wire)
            },
            online: (online) => this.events.online(online),
            lost: () => {
              this.#station?.close()
              this.#station = null
              if (!this.#over()) void this.#claimLater()
            },
          },
          signal,
        )
        if (this.#over()) {
          station.close()
          return false
        }
        this.#station = station
        this.events.online(true)
        return true
      } catch (error) {
        if (error instanceof NetworkError && error.kind === 'taken') continue
        this.#unsupported = error instanceof NetworkError && error.kind === 'unsupported'
        if (this.#unsupported) this.events.unsupported()
        else this.events.online(false)
        return false
      }
    }
    return false
  }

  async #claimLater(): Promise<void> {
    for (let i = 0; !this.#over(); i += 1) {
      await this.#pause(RETRY_MS[Math.min(i, RETRY_MS.length - 1)] ?? 30_000)
      if (this.#over() || this.#station) return
      if (await this.#claim()) {
        await this.sweep()
        return
      }
    }
  }

  async #watch(): Promise<void> {
    while (!this.#over()) {
      const ms = SWEEP_MS[Math.min(this.#round, SWEEP_MS.length - 1)] ?? 30_000
      await this.#pause(ms)
      if (this.#over()) return
      if (this.#forced || this.events.incomplete()) {
        this.#forced = false
        this.#round += 1
        await this.sweep()
      } else {
        this.#round = 0
      }
    }
  }

  #pause(ms: number): Promise<void> {
    const early = new AbortController()
    const before = this.#wake
    const wake = (): void => {
      before?.()
      early.abort()
    }
    this.#wake = wake
    return pause(this.options.clock, ms, early.signal).then(() => {
      if (this.#wake === wake) this.#wake = null
    })
  }

  async #callAll(): Promise<Map<string, Outcome>> {
    const outcomes = new Map<string, Outcome>()
    const station = this.#station
    await Promise.all(
      this.options.slots.map(async (slot) => {
        if (!station) return outcomes.set(slot, 'unreachable')
        if (slot === station.peer) return
        if (this.events.known().has(slot)) return outcomes.set(slot, 'connected')
        return outcomes.set(slot, await this.#call(station, slot))
      }),
    )
    return outcomes
  }

  async #call(station: Station, slot: string): Promise<Outcome> {
    const { signal } = this.#end
    try {
      const wire = await station.connect(slot, signal)
      if (this.#over()) {
        wire.close()
        return 'aborted'
      }
      this.events.wire(wire)
      return 'connected'
    } catch (error) {
      return error instanceof NetworkError ? error.kind : 'unreachable'
    }
  }
}

/** Why a device did not get in, in one sentence for people. */
export class JoinError extends Error {
  override readonly name = 'JoinError'
  /** @param nobody nobody of the room answered at all. */
  constructor(
    message: string,
    readonly nobody: boolean,
  ) {
    super(message)
  }
}

export function whyNotJoined(
  outcomes: ReadonlyMap<string, Outcome>,
  refused: ReadonlySet<string>,
): JoinError {
  const answered = [...outcomes.values()].some(
    (kind) => kind === 'connected' || kind === 'blocked',
  )
  return new JoinError(explain(outcomes, refused), !answered && refused.size === 0)
}

/** Why a device that called did not get in, in one sentence for people. */
export function explain(
  outcomes: ReadonlyMap<string, Outcome>,
  refused: ReadonlySet<string>,
): string {
  const kinds = new Set(outcomes.values())
  if (refused.has('full'))
    return 'This room is full: 16 phones are in it already. Ask somebody to leave first.'
  if (refused.has('version'))
    return 'The phones in this room run another version of Choir. Reload the page on all of them.'
  if (refused.has('replaced'))
    return 'This phone has the room open in another tab. Go on there, or close that tab.'
  if (kinds.has('unsupported')) return UNSUPPORTED
  if (kinds.has('unreachable') && !kinds.has('connected'))
    return 'The server that brings phones together cannot be reached. Check the Wi-Fi and try again.'
  if (refused.has('unproven'))
    return 'Somebody answered who does not know this room. Scan the code again.'
  if (kinds.has('blocked') || (kinds.has('connected') && refused.has('timeout')))
    return 'A phone in the room answered, but the Wi-Fi keeps the phones apart. Use a hotspot or another Wi-Fi.'
  return 'Nobody answers in this room. Open Choir on a phone that is in it, or ask for a new link.'
}
