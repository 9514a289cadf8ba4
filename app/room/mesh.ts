/** The proven links to the other devices of the room: heartbeats, limits, one per device. */
import type { BulkChannel } from './bulk-port.ts'
import type { Random } from './bytes.ts'
import { every, type Clock } from './clock.ts'
import { farewell, shakeHands, type Identity } from './handshake.ts'
import type { FrameChannel, Wire } from './link.ts'
import { TokenBucket } from './limits.ts'
import type { Rank } from './membership.ts'
import {
  encodeMessage,
  Malformed,
  parseMessage,
  type ByeReason,
  type Message,
} from './protocol.ts'
import type { Secret } from './secret.ts'

export const BEAT_MS = 1000
/** Beats without a sign of life until a link counts as lost. */
export const STRIKES = 3
/** Newest round trips that count. */
const MEASURED_BEATS = 8
/** Bad or excess messages that end a link. */
export const MAX_MALFORMED = 20
const BURST = 200
const PER_SECOND = 60
/** Handshakes at a time; a room has 15 others, each of which may call twice. */
const MAX_PENDING = 32
/** Two wires that were proven within this time come from both ends calling at once, ms. */
const GLARE_MS = 2000

export interface MeshEvents {
  /** A link stands; control messages may be sent. */
  up(remote: Identity): void
  /** `clean`: it said goodbye or closed; else it fell silent or broke. */
  down(device: string, clean: boolean): void
  /** Called in the task in which the channel came to be. */
  frames(device: string, channel: FrameChannel): void
  /** As `frames`: the way on which messages may get lost. */
  spare(device: string, channel: FrameChannel): void
  /** Shards may travel here. */
  bulk(device: string, channel: BulkChannel): void
  /** From a proven device; beats and farewells are dealt with here. */
  message(device: string, message: Message): void
  /** A ping told which state the other end holds. */
  rank(device: string, rank: Rank | null): void
  /** A wire came to nothing; `proven`: after the other end had proven itself. */
  refused(reason: string, proven: boolean): void
  /** A newer page has this device's place. */
  replaced(): void
  /** One sentence for people. */
  notice(text: string): void
  /** Why this device should not be let in, once it is proven. */
  objection(remote: Identity): ByeReason | null
  /** What pings say. */
  ownRank(): Rank | null
}

interface Link {
  readonly remote: Identity
  readonly wire: Wire
  readonly since: number
  readonly bucket: TokenBucket
  heard: number
  bad: number
  rtts: readonly number[]
  rttMs: number | null
  ping: { readonly n: number; readonly at: number } | null
  frames: boolean
}

export interface MeshOptions {
  readonly secret: Secret
  readonly self: Identity
  readonly clock: Clock
  readonly random: Random
}

export class Mesh {
  readonly #links = new Map<string, Link>()
  readonly #pending = new Set<Wire>()
  /** Wires that this end, as the one that chooses, is about to keep; by device. */
  readonly #chosen = new Map<string, { readonly wire: Wire; readonly instance: string }>()
  readonly #stopBeats: () => void
  #lastBeat: number
  #n = 0
  #closed = false

  constructor(
    private readonly options: MeshOptions,
    private readonly events: MeshEvents,
  ) {
    this.#lastBeat = options.clock.now()
    this.#stopBeats = every(options.clock, BEAT_MS, () => this.#beat())
  }

  /** Devices with a proven link, and the page load behind it. */
  get linked(): ReadonlyMap<string, string> {
    return new Map([...this.#links].map(([id, { remote }]) => [id, remote.instance]))
  }

  /** Links whose frames channel stands. */
  get rtts(): { device: string; rttMs: number | null }[] {
    return [...this.#links.values()]
      .filter((link) => link.frames)
      .map((link) => ({ device: link.remote.device, rttMs: link.rttMs }))
  }

  rtt(device: string): number | null {
    return this.#links.get(device)?.rttMs ?? null
  }

  /** Peer ids at which linked or arriving devices were reached. */
  get peers(): ReadonlySet<string> {
    const wires = [
      ...[...this.#links.values()].map((link) => link.wire),
      ...this.#pending,
    ]
    return new Set(wires.map((wire) => wire.remotePeer))
  }

  /** Takes charge of a wire that nobody started yet. */
  add(wire: Wire): void {
    if (this.#closed || this.#pending.size >= MAX_PENDING) {
      wire.close()
      return
    }
    this.#pending.add(wire)
    let link: Link | null = null
    shakeHands(
      wire,
      {
        ...this.options,
        isLinked: (remote) =>
          this.#links.get(remote.device)?.remote.instance === remote.instance,
        objection: (remote, linked) => this.#objection(wire, remote, linked),
      },
      (result) => {
        this.#pending.delete(wire)
        for (const [device, chosen] of this.#chosen)
          if (chosen.wire === wire) this.#chosen.delete(device)
        if (this.#closed) {
          wire.close()
        } else if (result.kind === 'proven') {
          link = this.#accept(wire, result.remote, result.opener)
        } else {
          const { reason, by, proven } = result
          // A stranger must not be able to end a session.
          if (reason === 'replaced' && by === 'other' && proven) this.events.replaced()
          this.events.refused(reason, proven)
        }
      },
      {
        message: (data) => {
          if (link) this.#hear(link, data)
        },
        closed: (clean) => {
          if (link) this.#drop(link, clean)
        },
      },
    )
  }

  /** False where there is no link to the device. */
  send(device: string, message: Message): boolean {
    const link = this.#links.get(device)
    link?.wire.send(encodeMessage(message))
    return link !== undefined
  }

  broadcast(message: Message): void {
    const text = encodeMessage(message)
    for (const { wire } of this.#links.values()) wire.send(text)
  }

  /** Says goodbye on all links and closes them. Idempotent. */
  close(reason: ByeReason = 'leaving'): void {
    if (this.#closed) return
    this.broadcast({ type: 'bye', reason })
    this.#closed = true
    this.#stopBeats()
    for (const wire of this.#pending) wire.close()
    for (const { wire } of this.#links.values()) wire.close()
    this.#pending.clear()
    this.#links.clear()
  }

  #objection(wire: Wire, remote: Identity, remoteLinked: boolean): ByeReason | null {
    const old = this.#links.get(remote.device)
    // Only one end chooses among wires to the same page, else both could close the other's.
    const chooses = this.options.self.device < remote.device
    if (chooses && old?.remote.instance === remote.instance) {
      const young = this.options.clock.now() - old.since < GLARE_MS
      if (young || remoteLinked) return 'duplicate'
    }
    // It chooses once: the answers of two wires may overtake each other on the way back.
    const chosen = this.#chosen.get(remote.device)
    if (chosen?.instance === remote.instance) return 'duplicate'
    if (old && remote.instance < old.remote.instance) return 'replaced'
    const objection = this.events.objection(remote)
    if (objection === null && chooses)
      this.#chosen.set(remote.device, { wire, instance: remote.instance })
    return objection
  }

  #accept(wire: Wire, remote: Identity, opener: boolean): Link {
    const old = this.#links.get(remote.device)
    const { clock } = this.options
    const link: Link = {
      remote,
      wire,
      since: clock.now(),
      bucket: new TokenBucket(clock, BURST, PER_SECOND),
      heard: clock.now(),
      bad: 0,
      rtts: [],
      rttMs: null,
      ping: null,
      frames: false,
    }
    this.#links.set(remote.device, link)
    if (old?.remote.instance === remote.instance) {
      old.wire.close()
    } else if (old) {
      // A reload: whoever it was before has left.
      farewell(old.wire, 'replaced', clock)
      this.events.down(remote.device, true)
    }
    wire.frames(opener ? 'open' : 'await', (channel) => {
      if (this.#links.get(remote.device) !== link) return
      link.frames = true
      this.events.frames(remote.device, channel)
    })
    wire.spare(opener ? 'open' : 'await', (channel) => {
      if (this.#links.get(remote.device) === link)
        this.events.spare(remote.device, channel)
    })
    wire.bulk(opener ? 'open' : 'await', (channel) => {
      if (this.#links.get(remote.device) === link)
        this.events.bulk(remote.device, channel)
      else channel.close()
    })
    this.events.up(remote)
    this.#ping(link)
    return link
  }

  #hear(link: Link, data: unknown): void {
    if (this.#links.get(link.remote.device) !== link) return
    const { device } = link.remote
    link.heard = this.options.clock.now()
    const message = link.bucket.take()
      ? parseMessage(data)
      : new Malformed('too many messages')
    if (message instanceof Malformed) {
      link.bad += 1
      if (link.bad < MAX_MALFORMED) return
      this.events.notice(
        'A phone was disconnected because it sent too many bad messages.',
      )
      link.wire.send(encodeMessage({ type: 'bye', reason: 'unproven' }))
      this.#drop(link, true)
      return
    }
    switch (message.type) {
      case 'ping':
        link.wire.send(encodeMessage({ type: 'pong', n: message.n }))
        this.events.rank(device, message.rank)
        break
      case 'pong':
        if (link.ping?.n === message.n) {
          const rtt = this.options.clock.now() - link.ping.at
          link.rtts = [...link.rtts, rtt].slice(-MEASURED_BEATS)
          link.rttMs = lowerQuartile(link.rtts)
          link.ping = null
        }
        break
      case 'bye':
        this.#drop(link, true)
        if (message.reason === 'replaced') this.events.replaced()
        break
      default:
        this.events.message(device, message)
    }
  }

  #drop(link: Link, clean: boolean): void {
    link.wire.close()
    if (this.#closed || this.#links.get(link.remote.device) !== link) return
    this.#links.delete(link.remote.device)
    this.events.down(link.remote.device, clean)
  }

  #ping(link: Link): void {
    this.#n = (this.#n + 1) % 0xffff_ffff
    link.ping = { n: this.#n, at: this.options.clock.now() }
    const rank = this.events.ownRank()
    link.wire.send(encodeMessage({ type: 'ping', n: this.#n, rank }))
  }

  #beat(): void {
    const now = this.options.clock.now()
    const late = now - this.#lastBeat > 2.5 * BEAT_MS
    this.#lastBeat = now
    for (const link of [...this.#links.values()]) {
      // After a sleep of our own nobody could be heard: the others get time to answer.
      if (late) link.heard = Math.max(link.heard, now - BEAT_MS)
      if (now - link.heard > STRIKES * BEAT_MS) this.#drop(link, false)
      else this.#ping(link)
    }
  }
}

/** Pages that are busy answer late, none answers early: the lower part tells of the link. */
function lowerQuartile(values: readonly number[]): number | null {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 4)] ?? null
}
