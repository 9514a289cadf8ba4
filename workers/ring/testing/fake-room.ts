/** Devices in one process: explicit queues between them, a clock that tests move. */
import type { Manifest } from '../../../model-split/manifest.ts'
import type { Clock } from '../clock.ts'
import type { Wire } from '../link-port.ts'
import { Links } from '../links.ts'
import { Ring, type Part, type RingOptions } from '../ring.ts'
import { Scheduler } from '../scheduler.ts'
import { spansOf, type AnswerEvent, type Ask, type RingPlan } from '../types.ts'
import { FakeEngine, unread } from './fake-model.ts'

const MOST_STEPS = 100_000

export class FakeClock implements Clock {
  #now = 0
  readonly #timers = new Set<{ at: number; run: () => void }>()

  now(): number {
    return this.#now
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  get waiting(): number {
    return this.#timers.size
  }

  /** Runs the timers of that time in their order. */
  move(ms: number): void {
    const until = this.#now + ms
    for (;;) {
      const due = [...this.#timers]
        .filter(({ at }) => at <= until)
        .sort((a, b) => a.at - b.at)[0]
      if (!due) break
      this.#now = due.at
      this.#timers.delete(due)
      due.run()
    }
    this.#now = until
  }
}

/** Numbers in [0, 1) from a seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

interface Direction {
  readonly from: string
  readonly to: string
  readonly messages: Uint8Array[]
  readonly target: Wire
}

export interface Device {
  readonly id: string
  readonly ring: Ring
  readonly links: Links
  readonly scheduler: Scheduler
  engine: FakeEngine | null
  /** Of the newest plan; null: it gives nothing to run. */
  next: { readonly engine: FakeEngine; readonly layout: number } | null
}

/** Share of what goes a spare way. */
const LOST_COPIES = 1 / 3

export interface Answer {
  readonly tokens: number[]
  readonly events: AnswerEvent[]
  end: AnswerEvent | null
}

/** Lets everything run that waits for no message and no timer. */
export async function settle(ticks = 1000): Promise<void> {
  for (let i = 0; i < ticks; i++) await Promise.resolve()
}

export interface RoomOptions {
  readonly manifest: Manifest
  readonly seed?: number
  readonly chunkRows?: number
  readonly cacheBudget?: number
  readonly context?: number
  readonly drafter?: RingOptions['drafter']
  /** All links have a spare way, on which every third message is lost, and send copies. */
  readonly spares?: boolean
}

export class FakeRoom {
  readonly clock = new FakeClock()
  readonly devices = new Map<string, Device>()
  readonly errors: unknown[] = []
  /** Every message that was delivered, for tests that look at the wire. */
  onDeliver: (from: string, to: string, message: Uint8Array) => void = () => undefined
  /** Messages that never arrive. */
  isLost: (from: string, to: string, message: Uint8Array) => boolean = () => false
  /** Layouts that were let go. */
  ended = 0
  #layouts = 0
  #directions: Direction[] = []
  readonly #options: RoomOptions
  readonly #random: () => number

  constructor(ids: readonly string[], options: RoomOptions) {
    this.#options = options
    this.#random = randomFrom(options.seed ?? 1)
    for (const id of ids) this.add(id)
    for (const a of ids) for (const b of ids) if (a < b) this.connect(a, b)
  }

  add(id: string): Device {
    const { clock } = this
    const { manifest, chunkRows, drafter } = this.#options
    const links = new Links(clock)
    const scheduler = new Scheduler((error) => this.errors.push(error))
    const ring = new Ring({
      ...{ self: id, manifest, links, scheduler, clock },
      ...(chunkRows !== undefined && { chunkRows }),
      ...(drafter && { drafter }),
    })
    const device: Device = { id, ring, links, scheduler, engine: null, next: null }
    this.devices.set(id, device)
    return device
  }

  get cacheBudget(): number {
    return this.#options.cacheBudget ?? 1e9
  }

  device(id: string): Device {
    const device = this.devices.get(id)
    if (!device) throw new Error(`no device ${id}`)
    return device
  }

  connect(a: string, b: string): void {
    const [wireA, wireB] = [this.#wire(a, b), this.#wire(b, a)]
    this.#directions = this.#directions.filter(({ from, to }) => !joins(from, to, a, b))
    this.#directions.push({ from: a, to: b, messages: [], target: wireB })
    this.#directions.push({ from: b, to: a, messages: [], target: wireA })
    this.device(a).links.connect(b, wireA)
    this.device(b).links.connect(a, wireB)
    if (this.#options.spares) this.#connectSpares(a, b)
  }

  /** Both ends hear at once that the other one misses signs. */
  #connectSpares(a: string, b: string): void {
    const [toB, toA]: [Uint8Array[], Uint8Array[]] = [[], []]
    const [spareA, spareB] = [this.#lossyWire(a, b, toB), this.#lossyWire(b, a, toA)]
    this.#directions.push({ from: a, to: b, messages: toB, target: spareB })
    this.#directions.push({ from: b, to: a, messages: toA, target: spareA })
    this.device(a).links.connectSpare(b, spareA)
    this.device(b).links.connectSpare(a, spareB)
    for (const spare of [spareA, spareB]) spare.onMessage(Uint8Array.of(0, 0, 1))
  }

  #lossyWire(from: string, to: string, messages: Uint8Array[]): Wire {
    const send = (message: Uint8Array): void => {
      if (this.#random() >= LOST_COPIES) messages.push(message.slice())
    }
    return { ...this.#wire(from, to), send }
  }

  /** What is on the way is lost, and both ends notice. */
  cut(a: string, b: string): void {
    this.#directions = this.#directions.filter(({ from, to }) => !joins(from, to, a, b))
    this.devices.get(a)?.links.disconnect(b)
    this.devices.get(b)?.links.disconnect(a)
  }

  /** A device vanishes. */
  remove(id: string): void {
    for (const other of this.devices.keys()) if (other !== id) this.cut(id, other)
    this.device(id).ring.close()
    this.devices.delete(id)
  }

  /** A plan with new engines everywhere: no cache outlives the plan before. */
  async activate(
    plan: RingPlan,
    only: Iterable<string> = this.devices.keys(),
  ): Promise<void> {
    for (const id of only) {
      this.device(id).engine = null
      await this.prepare(plan, null, [id], false)
      this.serve(plan, [id])
    }
  }

  /**
   * Loads a plan on engines that go on serving the one before, and lets caches be copied ahead.
   * @param copies false: whatever is missing is fetched when it is needed.
   */
  async prepare(
    plan: RingPlan,
    before: RingPlan | null,
    only: Iterable<string> = this.devices.keys(),
    copies = true,
  ): Promise<void> {
    const { manifest } = this.#options
    for (const id of only) {
      const device = this.device(id)
      const index = plan.stages.findIndex((stage) => stage.device === id)
      device.next = null
      if (index >= 0) {
        const engine = device.engine ?? new FakeEngine()
        const spans = spansOf(plan, index, manifest.layers)
        const reader = { file: unread, shard: unread }
        const layout = ++this.#layouts
        await engine.load({ layout, manifest, reader, spans, mode: 'packed' })
        device.next = { engine, layout }
      }
      if (copies) device.ring.prepare(plan, this.#part(device), before)
    }
  }

  /** Lets frames travel, and time pass with each, until all say that caches have come ahead. */
  async copied({ epoch }: RingPlan): Promise<void> {
    const waiting = new Set(this.devices.keys())
    for (const [id, { ring }] of this.devices)
      void ring.copied(epoch).then(() => waiting.delete(id))
    await settle()
    for (let i = 0; waiting.size > 0; i++) {
      if (i > MOST_STEPS) throw new Error('the copies do not come to an end')
      await this.step()
      this.clock.move(2)
    }
  }

  /** Activates what was prepared. */
  serve(plan: RingPlan, only: Iterable<string> = this.devices.keys()): void {
    for (const id of only) {
      const device = this.device(id)
      device.engine = device.next?.engine ?? device.engine
      device.ring.activate(plan, this.#part(device))
    }
  }

  #part({ next }: Device): Part | null {
    if (!next) return null
    const { cacheBudget } = this
    const { context = 1e9 } = this.#options
    const { engine, layout } = next
    const onEnded = () => {
      this.ended++
      void engine.unload(layout)
    }
    return { engine, layout, cacheBudget, context, onEnded }
  }

  ask(device: string, ask: Ask): Answer {
    const answer: Answer = { tokens: [], events: [], end: null }
    this.device(device).ring.ask(ask, (event) => {
      answer.events.push(event)
      if (event.kind === 'token') answer.tokens.push(event.id)
      else answer.end = event
    })
    return answer
  }

  /** Raw bytes from one device to another, as a room mate that misbehaves may send. */
  inject(from: string, to: string, message: Uint8Array): void {
    this.#directions
      .find((direction) => direction.from === from && direction.to === to)
      ?.messages.push(message)
  }

  /** Delivers one message of a link chosen by the seed. False: none is on the way. */
  async step(): Promise<boolean> {
    await settle(Math.floor(this.#random() * 40))
    const ready = () => this.#directions.filter(({ messages }) => messages.length > 0)
    // Several calls of a slow engine may run before the next message.
    for (let i = 0; i < 5 && ready().length === 0; i++) await settle()
    const busy = ready()
    const direction = busy[Math.floor(this.#random() * busy.length)]
    const message = direction?.messages.shift()
    if (!direction || !message) return false
    if (this.isLost(direction.from, direction.to, message)) return true
    this.onDeliver(direction.from, direction.to, message)
    direction.target.onMessage(message)
    return true
  }

  /** Until nothing is on the way, or `done`. */
  async run(done: () => boolean = () => false, mostSteps = MOST_STEPS): Promise<void> {
    for (let i = 0; i < mostSteps; i++) if (done() || !(await this.step())) return
    throw new Error('the room does not come to rest')
  }

  #wire(from: string, to: string): Wire {
    const wire: Wire = {
      ready: () => true,
      idle: () => true,
      send: (message) => this.inject(from, to, message.slice()),
      close: () => undefined,
      onReady: () => undefined,
      onMessage: () => undefined,
      onClosed: () => undefined,
    }
    return wire
  }
}

function joins(from: string, to: string, a: string, b: string): boolean {
  return (from === a && to === b) || (from === b && to === a)
}
