/** This device's copy of the room's state and of everybody's facts; coordinates if it must. */
import type { Random } from './bytes.ts'
import type { Clock } from './clock.ts'
import { NO_MEMORY, nextAction, wakeAt, type Memory } from './coordinator.ts'
import type { Deal } from './deal.ts'
import type { Identity } from './handshake.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import {
  compareRanks,
  fold,
  memberOf,
  successorOf,
  type Rank,
  type RoomEvent,
  type RoomState,
} from './membership.ts'
import type { Facts, Message } from './protocol.ts'

/** What the replica needs of the mesh. */
export interface Links {
  readonly linked: ReadonlyMap<string, string>
  send(device: string, message: Message): boolean
  broadcast(message: Message): void
}

export interface ReplicaOptions {
  readonly self: Identity
  readonly clock: Clock
  readonly random: Random
  readonly deal: Deal
  /** Devices that the first plan waits for; see the coordinator. */
  readonly expected: number | null
  readonly facts: Facts
}

/** While others still reach the coordinator that this device lost, it waits so long, ms. */
const VOUCH_MS = 3000
/** Out of the roster and without any member in reach, a device goes on alone after, ms. */
const STRANDED_MS = 6000
/** Facts are sent at most that often, ms. */
const GOSSIP_MS = 250

export class Replica {
  #state: RoomState | null = null
  #facts = new Map<string, Facts>()
  #heard = new Map<string, number>()
  readonly #lost = new Set<string>()
  #memory: Memory = NO_MEMORY
  #manifest: Manifest | null = null
  #orphanSince: number | null = null
  #gossip: (() => void) | null = null
  #gossipedAt = -Infinity
  #cancelWake: () => void = () => undefined
  #stepping = false
  #thinking: Promise<void> | null = null
  #closed = false

  constructor(
    private readonly options: ReplicaOptions,
    private readonly links: Links,
    private readonly onChange: () => void,
  ) {
    this.#setFacts(options.self.device, options.facts)
  }

  get state(): RoomState | null {
    return this.#state
  }

  get facts(): ReadonlyMap<string, Facts> {
    return this.#facts
  }

  get rank(): Rank | null {
    if (!this.#state) return null
    const { term, number, coordinator } = this.#state
    return { term, number, coordinator }
  }

  get coordinates(): boolean {
    return this.#state?.coordinator === this.options.self.device
  }

  /** Whether somebody of the roster is not linked, or this device is not in it. */
  get incomplete(): boolean {
    const state = this.#state
    if (!state) return true
    const { self } = this.options
    if (!memberOf(state, self.device) || this.#lost.size > 0) return true
    return state.members.some(
      ({ device }) => device !== self.device && !this.links.linked.has(device),
    )
  }

  /** Opens the room with this device alone. */
  found(state: RoomState): void {
    this.#adopt(state)
    this.step()
  }

  setManifest(manifest: Manifest): void {
    this.#manifest = manifest
    this.step()
  }

  /** Changes this device's facts and tells the others soon. */
  tell(change: Partial<Facts>): void {
    const { device } = this.options.self
    const old = this.#facts.get(device)
    if (!old) return
    const facts = { ...old, ...change }
    if (JSON.stringify(facts) === JSON.stringify(old)) return
    this.#setFacts(device, facts)
    const { clock } = this.options
    const rest = Math.max(0, this.#gossipedAt + GOSSIP_MS - clock.now())
    this.#gossip ??= clock.after(rest, () => {
      this.#gossip = null
      this.#gossipedAt = clock.now()
      const own = this.#facts.get(device)
      if (own && !this.#closed) this.links.broadcast({ type: 'facts', facts: own })
    })
    this.onChange()
    this.step()
  }

  up(device: string): void {
    this.#lost.delete(device)
    const own = this.#facts.get(this.options.self.device)
    if (this.#state) this.links.send(device, { type: 'state', state: this.#state })
    if (own) this.links.send(device, { type: 'facts', facts: own })
    this.step()
  }

  down(device: string, clean: boolean): void {
    this.#facts.delete(device)
    this.#heard.delete(device)
    if (!clean) {
      this.#lost.add(device)
      // Somebody who never comes back must not be called for ever.
      this.options.clock.after(600_000, () => this.#lost.delete(device))
    }
    this.onChange()
    this.step()
  }

  /** Another device holds this state: it gets ours where ours is later. */
  seen(device: string, rank: Rank | null): void {
    const state = this.#state
    if (!state) return
    if (!rank || compareRanks(state, rank) > 0)
      this.links.send(device, { type: 'state', state })
  }

  hear(device: string, message: Message): void {
    if (message.type === 'facts') {
      this.#setFacts(device, message.facts)
      this.onChange()
      this.step()
    } else if (message.type === 'state') {
      if (this.#state && compareRanks(message.state, this.#state) <= 0) return
      this.#adopt(message.state)
      this.step()
    }
  }

  /** To be called after every change and about once a second. */
  step(): void {
    if (this.#stepping || this.#closed) return
    this.#stepping = true
    try {
      // Bounded, so that a mistake in the rules cannot hang the page.
      for (let i = 0; i < 64 && this.#act(); i += 1);
    } finally {
      this.#stepping = false
    }
    this.#wakeLater()
  }

  close(): void {
    this.#closed = true
    this.#gossip?.()
    this.#cancelWake()
  }

  #wakeLater(): void {
    const { clock } = this.options
    const now = clock.now()
    const at = this.coordinates ? wakeAt(this.#memory, now) : null
    this.#cancelWake()
    if (at !== null) this.#cancelWake = clock.after(at - now, () => this.step())
  }

  #act(): boolean {
    const state = this.#state
    if (!state) return false
    if (!this.coordinates) return this.#succeed(state)
    this.#orphanSince = null
    const { self, clock, expected } = this.options
    const { event, memory } = nextAction(
      {
        state,
        facts: this.#facts,
        heard: this.#heard,
        linked: new Map([...this.links.linked, [self.device, self.instance]]),
        lost: this.#lost,
        manifest: this.#manifest,
        deal: this.#deal,
        expected,
        now: clock.now(),
        today: Date.now(),
        salt: this.#salt(),
      },
      this.#memory,
    )
    this.#memory = memory
    return event !== null && this.#emit(state, event)
  }

  /** Takes over when the coordinator is gone and nobody comes before this device. */
  #succeed(state: RoomState): boolean {
    const { self, clock } = this.options
    const { linked } = this.links
    if (linked.has(state.coordinator)) {
      this.#orphanSince = null
      return false
    }
    const now = clock.now()
    this.#orphanSince ??= now
    const waited = now - this.#orphanSince
    const alive = (device: string): boolean =>
      device === self.device || linked.has(device)
    const own = memberOf(state, self.device)?.instance === self.instance
    if (!own) {
      const anybody = state.members.some(
        ({ device }) => device !== self.device && linked.has(device),
      )
      if (anybody || waited < STRANDED_MS) return false
    } else {
      if (successorOf(state, alive) !== self.device) return false
      const vouched = [...linked.keys()].some((device) =>
        this.#facts.get(device)?.links.some((link) => link.device === state.coordinator),
      )
      if (vouched && waited < VOUCH_MS) return false
    }
    const gone = state.members.map(({ device }) => device).filter((id) => !alive(id))
    const { device, instance } = self
    return this.#emit(state, {
      kind: 'takeover',
      device,
      instance,
      gone,
      salt: this.#salt(),
    })
  }

  #emit(state: RoomState, event: RoomEvent): boolean {
    const next = fold(state, event)
    if (next === state) return false
    this.#state = next
    this.links.broadcast({ type: 'state', state: next })
    this.onChange()
    return true
  }

  #adopt(state: RoomState): void {
    this.#state = state
    this.#memory = NO_MEMORY
    this.#orphanSince = null
    this.onChange()
  }

  #setFacts(device: string, facts: Facts): void {
    const old = this.#facts.get(device)
    this.#facts = new Map(this.#facts).set(device, facts)
    // Round trips change all the time; what counts is whether the device gets on.
    const same =
      JSON.stringify([old?.state, old?.prepared]) ===
      JSON.stringify([facts.state, facts.prepared])
    if (!old || !same) this.#heard.set(device, this.options.clock.now())
  }

  /** Steps again once a deal that takes a while is known. */
  readonly #deal: Deal = (...question) => {
    const dealt = this.options.deal(...question)
    if (dealt.kind === 'thinking' && dealt.known !== this.#thinking) {
      this.#thinking = dealt.known
      void dealt.known.then(() => this.step())
    }
    return dealt
  }

  #salt(): number {
    const [high = 0, low = 0] = this.options.random(2)
    return high * 256 + low
  }
}
