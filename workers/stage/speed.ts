/** Running estimates of this device's speed that a few odd runs don't spoil. */
import type { Manifest } from '../../model-split/manifest.ts'
import { segmentsOf, type Span } from '../../model-split/span.ts'

/** Newest decoding steps that count: few enough that a tab which slows down is soon seen. */
const STEPS = 15
/**
 * So many steps in a row, each off by more than `CHANGED` from the middle of those before: the
 * speed has changed, and older steps say nothing of it any more.
 */
const CHANGED_STEPS = 4
const CHANGED = 1.5
/** Newest chunks of prompts that count. */
const CHUNKS = 5
/** A step carries one row, or a short draft that is checked in one go. */
const MOST_STEP_ROWS = 12
/** Chunks of fewer rows say little of long prompts. */
const LEAST_CHUNK_ROWS = 16

/** Sums over decoding steps: of their times, ms, and of these squared, ms². */
export interface StepSums {
  readonly count: number
  readonly ms: number
  readonly squareMs: number
}

export class Speed {
  readonly #spans: readonly SpanRuns[]

  constructor(manifest: Manifest, spans: readonly Span[]) {
    this.#spans = spans.map((span) => ({
      layers: span.to - span.from,
      share: layersShare(manifest, span),
      steps: [],
      chunks: [],
      all: { count: 0, ms: 0, squareMs: 0 },
    }))
  }

  /** Time for one token through one layer; null before the first. */
  get msPerLayer(): number | null {
    return this.#perLayer(({ steps }) => steps.map(({ ms }) => ms))
  }

  /** Time for one row of a prompt through one layer; null before the first. */
  get msPerLayerPrefill(): number | null {
    return this.#perLayer(({ chunks }) => chunks)
  }

  /** Embedding and head of one token, as far as they run here; null before all have run. */
  get msStarter(): number | null {
    let sum = 0
    for (const { share, steps } of this.#spans) {
      const ms = midmean(steps.map((step) => step.ms))
      if (ms === null) return null
      sum += ms * (1 - share)
    }
    return sum
  }

  /** All decoding steps so far, by span; embedding and head are in them. */
  get steps(): readonly StepSums[] {
    return this.#spans.map(({ all }) => ({ ...all }))
  }

  /** From now on another engine runs. */
  clear(): void {
    for (const { steps, chunks } of this.#spans) {
      steps.length = 0
      chunks.length = 0
    }
  }

  /** A run of the span of that index. True: it shows that the speed has changed. */
  add(span: number, rows: number, ms: number): boolean {
    const runs = this.#spans[span]
    if (!runs) return false
    if (rows <= MOST_STEP_ROWS) {
      runs.all.count += 1
      runs.all.ms += ms
      runs.all.squareMs += ms * ms
      keep(runs.steps, { ms, rows }, STEPS)
      return forget(runs.steps)
    }
    if (rows >= LEAST_CHUNK_ROWS) keep(runs.chunks, ms / rows, CHUNKS)
    return false
  }

  #perLayer(runs: (span: SpanRuns) => readonly number[]): number | null {
    for (const span of this.#spans) {
      const ms = midmean(runs(span))
      if (ms !== null && span.layers > 0) return (ms * span.share) / span.layers
    }
    return null
  }
}

interface SpanRuns {
  readonly layers: number
  /** Of its layers in a run; embedding and head take the rest. */
  readonly share: number
  readonly steps: Step[]
  readonly chunks: number[]
  readonly all: { -readonly [K in keyof StepSums]: StepSums[K] }
}

interface Step {
  readonly ms: number
  readonly rows: number
}

function keep<T>(window: T[], value: T, most: number): void {
  window.push(value)
  if (window.length > most) window.shift()
}

/** Drops steps from before the speed changed; those that check drafts take longer anyway. */
function forget(steps: Step[]): boolean {
  const newest = steps.slice(-CHANGED_STEPS)
  const older = steps.slice(0, -CHANGED_STEPS).filter(({ rows }) => rows === 1)
  const usual = midmean(older.map(({ ms }) => ms))
  if (usual === null || newest.some(({ rows }) => rows > 1)) return false
  const slower = newest.every(({ ms }) => ms > usual * CHANGED)
  const faster = newest.every(({ ms }) => ms < usual / CHANGED)
  if (slower || faster) steps.splice(0, steps.length - CHANGED_STEPS)
  return slower || faster
}

/** Mean of the middle half: as robust as a median, and right where runs are of two kinds. */
function midmean(values: readonly number[]): number | null {
  if (values.length === 0) return null
  const cut = Math.floor(values.length / 4)
  const middle = values.toSorted((a, b) => a - b).slice(cut, values.length - cut)
  return middle.reduce((sum, value) => sum + value, 0) / middle.length
}

/** By operations. */
function layersShare(manifest: Manifest, span: Span): number {
  const [start, end] = segmentsOf(manifest, span)
  const all = manifest.segments.slice(start, end)
  const inner = manifest.segments.slice(span.from + 1, span.to + 1)
  const flops = (some: typeof all) =>
    some.reduce((sum, segment) => sum + segment.flops, 0)
  if (flops(all) > 0) return flops(inner) / flops(all)
  return span.to > span.from ? 1 : 0
}
