/**
 * Brings the caches of the layers that a plan gives to this device from where they were:
 * ahead, in the background, while the plan before goes on answering; and what is missing yet
 * when a chunk comes that builds on it. Rows are only believed where their lineage fits.
 */
import type { Manifest } from '../../model-split/manifest.ts'
import { unpackRows, type CacheRows, type RowCopy } from './cache-rows.ts'
import type { Clock } from './clock.ts'
import { MAX_ROWS, PLAIN, type Frame } from './frame.ts'
import { cachesOfLayer, hasRowsOnly, kvBytes } from './limits.ts'
import type { KvList } from './messages.ts'

/** Rest between two looks at what the holder before has added, ms. */
const POLL_MS = 100
/** A holder that does not answer is asked again after, ms. It may not know the plan yet. */
const RETRY_MS = 1000
/** Wanted rows that don't come are not waited for any longer, ms. */
const WANT_MS = 5000
/** Layers that are copied from one holder at a time, in the background. */
const AT_ONCE = 4
/** Bytes of one copy in the background, and of one that a chunk waits for. */
const SLICE_BYTES = 16 * 2 ** 10
const URGENT_BYTES = 256 * 2 ** 10
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
  readonly isWanted: () => boolean
}

interface Want {
  readonly device: string
  readonly from: number
  readonly rows: number
  readonly done: (copy: RowCopy | null) => void
}

export class KvCopy {
  readonly #options: KvCopyOptions
  /** Holders that were asked what they have, or that rest, and how to stop the timer. */
  readonly #timers = new Map<string, () => void>()
  readonly #asked = new Set<string>()
  /** By sequence and layer. */
  readonly #wants = new Map<string, Want>()
  readonly #busy = new Map<string, Promise<void>>()
  #active = false
  #closed = false

  constructor(options: KvCopyOptions) {
    this.#options = options
  }

  /** Begins to copy ahead. */
  start(): void {
    for (const device of new Set(this.#options.sources.values())) this.#ask(device)
  }

  /** The plan serves: one more look at each holder, then sequences fetch what they lack. */
  finish(): void {
    this.#active = true
  }

  close(): void {
    this.#closed = true
    for (const cancel of this.#timers.values()) cancel()
    this.#timers.clear()
    this.#fail(() => true)
  }

  /** The link to a device is gone. */
  down(device: string): void {
    this.#fail((want) => want.device === device)
  }

  /** What a holder says it has. */
  list(device: string, list: KvList): void {
    if (!this.#asked.delete(device) || this.#closed) return
    this.#timers.get(device)?.()
    const isLast = this.#active
    void this.#copyAll(device, list).then(() => {
      if (!isLast) this.#after(POLL_MS, device)
    })
  }

  /** Rows, if they are those that were asked for. */
  receive(device: string, frame: Frame): void {
    const { sequence, tensor: layer, position: from, rows, base } = frame
    const key = `${sequence}:${layer}`
    const want = this.#wants.get(key)
    if (want?.device !== device || want.from !== from || rows > want.rows) return
    this.#wants.delete(key)
    const caches = cachesOfLayer(this.#options.manifest, layer)
    const copy = { from, base, ...unpackRows(caches, rows, frame.payload) }
    want.done(rows > 0 ? copy : null)
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
    const goal = { until: position, base, isWanted }
    await Promise.all(layers.map((layer) => this.#alone(sequence, layer, goal)))
  }

  #ask(device: string): void {
    if (this.#closed) return
    this.#asked.add(device)
    this.#options.send(device, { ...PLAIN, kind: 'kv-ask', sequence: 0 })
    this.#after(RETRY_MS, device)
  }

  #after(ms: number, device: string): void {
    if (this.#closed) return
    this.#timers.get(device)?.()
    const cancel = this.#options.clock.after(ms, () => this.#ask(device))
    this.#timers.set(device, cancel)
  }

  async #copyAll(device: string, list: KvList): Promise<void> {
    const { sources, manifest } = this.#options
    const layers = [...sources].flatMap(([layer, from]) =>
      from === device && hasRowsOnly(cachesOfLayer(manifest, layer)) ? [layer] : [],
    )
    const tasks = list
      .flatMap(([sequence, until]) => layers.map((layer) => ({ sequence, layer, until })))
      .values()
    const worker = async () => {
      for (const { sequence, layer, until } of tasks)
        await this.#alone(sequence, layer, { until, base: null, isWanted: () => true })
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker))
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
    { until, base, isWanted }: Goal,
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
    let from = isWhole ? 0 : have < until ? have : rows.reliable(sequence, [layer], until)
    for (let misfits = 0; from < until && misfits < MOST_MISFITS && !isStale();) {
      const count = isWhole ? until : Math.min(until - from, most)
      const copy = await this.#want(device, sequence, layer, { from, count, isUrgent })
      if (!copy || isStale()) return
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
    }
  }

  #want(
    device: string,
    sequence: number,
    layer: number,
    want: { readonly from: number; readonly count: number; readonly isUrgent: boolean },
  ): Promise<RowCopy | null> {
    const { clock, send } = this.#options
    const key = `${sequence}:${layer}`
    return new Promise((resolve) => {
      const cancel = clock.after(WANT_MS, () => {
        this.#wants.delete(key)
        resolve(null)
      })
      const done = (copy: RowCopy | null) => {
        cancel()
        resolve(copy)
      }
      const { from, count, isUrgent } = want
      this.#wants.set(key, { device, from, rows: count, done })
      const part = { kind: 'kv-want', sequence, tensor: layer } as const
      const range = { position: from, rows: count, last: isUrgent }
      if (send(device, { ...PLAIN, ...part, ...range })) return
      this.#wants.delete(key)
      done(null)
    })
  }

  #fail(which: (want: Want) => boolean): void {
    for (const [key, want] of [...this.#wants]) {
      if (!which(want)) continue
      this.#wants.delete(key)
      want.done(null)
    }
  }
}
