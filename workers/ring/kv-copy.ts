/**
 * Brings the caches of the layers that a plan gives to this device from where they were:
 * ahead, in the background, while the plan before goes on answering; and what is missing yet
 * when a chunk comes that builds on it. Rows are only believed where their lineage fits.
 */
import type { Manifest } from '../../model-split/manifest.ts'
import type { CacheRows, RowCopy } from './cache-rows.ts'
import type { Clock } from './clock.ts'
import { MAX_ROWS, PLAIN, type Frame } from './frame.ts'
import { KvWants } from './kv-wants.ts'
import { cachesOfLayer, hasRowsOnly, kvBytes } from './limits.ts'
import type { KvList } from './messages.ts'

/** Rest between two looks at what the holder before has added, ms. */
const POLL_MS = 100
/** A holder that does not answer is asked again after, ms. It may not know the plan yet. */
const RETRY_MS = 1000
/** Copies in the background that are on their way from one holder at a time. */
const AT_ONCE = 8
/** Bytes of one copy in the background, and of one that a chunk waits for. */
const SLICE_BYTES = 32 * 2 ** 10
const URGENT_BYTES = 256 * 2 ** 10
/** What is missing at the cut-over may be so much, of all that runs: nobody notices. */
const CLOSE_BYTES = 64 * 2 ** 10
/** A plan is not put off any longer for what is copied ahead, ms. */
const AHEAD_MS = 30_000
/** Lineages of which so many ends differ are not worth a copy. */
const MOST_MISFITS = 64

export interface KvCopyOptions {
  readonly manifest: Manifest
  readonly rows: CacheRows
  readonly clock: Clock
  /** Layers that come to this device, and who had them. */
  readonly sources: ReadonlyMap<number, string>
  /** Waits for the engine; urgent work before chunks of prompts. */
  readonly turn: <T>(isUrgent: boolean, work: () => Promise<T>) => Promise<T>
  /** False: there is no link. */
  readonly send: (device: string, frame: Omit<Frame, 'epoch'>) => boolean
  /** Whether the sequence runs under the new plan here: its rows are newer than a copy. */
  readonly isLive: (sequence: number) => boolean
  /** Whether caches may grow for what may never be needed. */
  readonly hasRoom: () => boolean
}

interface Goal {
  /** Rows below this one. */
  readonly until: number
  /** Who wrote the last of them, where a chunk waits for it; null: ahead. */
  readonly base: number | null
  /** Slices on their way at a time. */
  readonly window: number
  readonly isWanted: () => boolean
}

export class KvCopy {
  readonly #options: KvCopyOptions
  readonly #wants: KvWants
  /** Holders that were asked what they have, or that rest, and how to stop the timer. */
  readonly #timers = new Map<string, () => void>()
  readonly #asked = new Set<string>()
  /** Holders that have much of what runs which is not here, and how much at the last look. */
  readonly #behind = new Map<string, number>()
  /** By sequence and layer. */
  readonly #busy = new Map<string, Promise<void>>()
  readonly #caughtUp: Promise<void>
  #atClose: () => void = () => undefined
  #cancelLimit: () => void = () => undefined
  #active = false
  #closed = false

  constructor(options: KvCopyOptions) {
    this.#options = options
    this.#wants = new KvWants(options)
    this.#caughtUp = new Promise((resolve) => {
      this.#atClose = resolve
    })
  }

  /** Begins to copy ahead. */
  start(): void {
    const { sources, clock } = this.#options
    const devices = new Set(sources.values())
    for (const device of devices) this.#behind.set(device, Infinity)
    this.#cancelLimit = clock.after(AHEAD_MS, () => this.#atClose())
    for (const device of devices) this.#ask(device)
  }

  /**
   * Resolves once little is missing of what runs, or cannot be made less; at the latest half
   * a minute after the start.
   */
  caughtUp(): Promise<void> {
    return this.#caughtUp
  }

  /** The plan serves: one more look at each holder, then sequences fetch what they lack. */
  finish(): void {
    this.#active = true
  }

  close(): void {
    this.#closed = true
    this.#cancelLimit()
    for (const cancel of this.#timers.values()) cancel()
    this.#timers.clear()
    this.#wants.drop(() => true)
    this.#atClose()
  }

  /** The link to a device is gone. */
  down(device: string): void {
    this.#wants.drop((_, from) => from === device)
    this.#isClose(device)
  }

  /** What a holder says it has; the first `running` of them run. */
  list(device: string, list: KvList, running: number): void {
    if (!this.#asked.delete(device) || this.#closed) return
    this.#timers.get(device)?.()
    const isLast = this.#active
    void this.#look(device, list, running).then(() => {
      if (!isLast) this.#after(this.#behind.has(device) ? 0 : POLL_MS, device)
    })
  }

  /** Rows, if they are those that were asked for. */
  receive(device: string, frame: Frame): void {
    this.#wants.receive(device, frame)
  }

  /**
   * Fetches what these layers lack below `position`, where row `position - 1` was written by
   * `base`, as long as it is wanted: later the rows here may be newer. Layers that nobody had,
   * and rows that don't come, stay as they are.
   */
  async reach(
    sequence: number,
    layers: readonly number[],
    position: number,
    base: number,
    isWanted: () => boolean,
  ): Promise<void> {
    // What is on its way in the background would be waited for.
    this.#wants.drop((rows) => rows.sequence === sequence && layers.includes(rows.layer))
    const goal = { until: position, base, window: 1, isWanted }
    await Promise.all(layers.map((layer) => this.#alone(sequence, layer, goal)))
  }

  #ask(device: string): void {
    if (this.#closed) return
    this.#asked.add(device)
    if (!this.#options.send(device, { ...PLAIN, kind: 'kv-ask', sequence: 0 }))
      this.#isClose(device)
    this.#after(RETRY_MS, device)
  }

  #after(ms: number, device: string): void {
    if (this.#closed) return
    this.#timers.get(device)?.()
    const cancel = this.#options.clock.after(ms, () => this.#ask(device))
    this.#timers.set(device, cancel)
  }

  /** Copies what runs, and then for a while what rests. */
  async #look(device: string, list: KvList, running: number): Promise<void> {
    const { clock } = this.#options
    const layers = this.#layersOf(device)
    const runs = list.slice(0, running)
    const missing = this.#missingBytes(runs, layers)
    // Or it does not get less: it grows as fast as it comes, or nothing may come.
    if (missing <= CLOSE_BYTES || missing > (this.#behind.get(device) ?? 0) / 2)
      this.#isClose(device)
    else this.#behind.set(device, missing)
    await this.#copyAll(runs, layers, () => true)
    const until = clock.now() + POLL_MS
    const isFree = () => this.#active || clock.now() < until
    await this.#copyAll(list.slice(running), layers, isFree)
  }

  #isClose(device: string): void {
    this.#behind.delete(device)
    if (this.#behind.size === 0) this.#atClose()
  }

  /** Layers of a holder whose rows can come ahead. */
  #layersOf(device: string): number[] {
    const { sources, manifest } = this.#options
    return [...sources].flatMap(([layer, from]) =>
      from === device && hasRowsOnly(cachesOfLayer(manifest, layer)) ? [layer] : [],
    )
  }

  #missingBytes(list: KvList, layers: readonly number[]): number {
    const { rows, manifest } = this.#options
    let sum = 0
    for (const layer of layers) {
      const rowBytes = kvBytes(cachesOfLayer(manifest, layer), 1)
      for (const [sequence, until] of list)
        sum += Math.max(0, until - rows.rows(sequence, [layer])) * rowBytes
    }
    return sum
  }

  async #copyAll(
    list: KvList,
    layers: readonly number[],
    isWanted: () => boolean,
  ): Promise<void> {
    const all = list.flatMap(([sequence, until]) =>
      layers.map((layer) => ({ sequence, layer, until })),
    )
    const tasks = all.values()
    const workers = Math.min(AT_ONCE, all.length)
    const window = Math.floor(AT_ONCE / Math.max(1, workers))
    const work = async () => {
      for (const { sequence, layer, until } of tasks)
        await this.#alone(sequence, layer, { until, base: null, window, isWanted })
    }
    await Promise.all(Array.from({ length: workers }, work))
  }

  /** One copy of a layer of a sequence at a time. */
  async #alone(sequence: number, layer: number, goal: Goal): Promise<void> {
    const key = `${sequence}:${layer}`
    for (let other = this.#busy.get(key); other; other = this.#busy.get(key)) await other
    const work = this.#fetch(sequence, layer, goal).catch(() => undefined)
    this.#busy.set(key, work)
    await work
    this.#busy.delete(key)
  }

  async #fetch(
    sequence: number,
    layer: number,
    { until, base, window, isWanted }: Goal,
  ): Promise<void> {
    const { rows, turn, manifest, isLive, hasRoom } = this.#options
    const device = this.#options.sources.get(layer)
    const caches = cachesOfLayer(manifest, layer)
    const isUrgent = base !== null
    const isSpare = () => isLive(sequence) || !hasRoom()
    const isStale = () => this.#closed || !isWanted() || (!isUrgent && isSpare())
    const have = rows.rows(sequence, [layer])
    if (device === undefined || (!isUrgent && have >= until)) return
    const rowBytes = kvBytes(caches, 1)
    const bytes = isUrgent ? URGENT_BYTES : SLICE_BYTES
    const most = Math.min(MAX_ROWS, Math.max(1, Math.floor(bytes / rowBytes)))
    // A recurrent state is of the newest row, and whole.
    const isWhole = !hasRowsOnly(caches)
    const asked: { readonly next: number; readonly copy: Promise<RowCopy | null> }[] = []
    const dropAsked = () => {
      if (asked.length === 0) return
      this.#wants.drop((want) => want.sequence === sequence && want.layer === layer)
      asked.length = 0
    }
    let from = isWhole ? 0 : have < until ? have : rows.reliable(sequence, [layer], until)
    let next = from
    for (let misfits = 0; from < until && misfits < MOST_MISFITS && !isStale();) {
      while (asked.length < window && next < until) {
        const count = isWhole ? until : Math.min(until - next, most)
        const wanted = { sequence, layer, from: next, count, isUrgent }
        next += count
        asked.push({ next, copy: this.#wants.ask(device, wanted) })
      }
      const slice = asked.shift()
      const copy = await slice?.copy
      if (!copy || isStale()) break
      const fits = await turn(isUrgent, async () => {
        if (isStale() || !rows.fits(sequence, layer, copy)) return false
        await rows.paste(sequence, layer, copy)
        return true
      })
      if (fits) from += copy.attempts.length
      else {
        misfits++
        from = rows.reliable(sequence, [layer], from)
      }
      if (from === slice?.next) continue
      // What is on its way does not go on here.
      dropAsked()
      next = from
    }
    dropAsked()
  }
}
