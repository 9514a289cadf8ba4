/** A running estimate of this device's speed that a few slow steps don't spoil. */
import type { Manifest } from '../../model-split/manifest.ts'
import { segmentsOf, type Span } from '../../model-split/span.ts'

/** Newest decoding steps that count. */
const STEPS = 31

export class Speed {
  /** Share of one layer in a run of each span; null where the span has no layers. */
  readonly #shares: readonly (number | null)[]
  readonly #steps: number[] = []
  #stepsMs = 0

  constructor(manifest: Manifest, spans: readonly Span[]) {
    this.#shares = spans.map((span) => shareOf(manifest, span))
  }

  /** Time for one token through one layer, the median of the newest steps; null before. */
  get msPerLayer(): number | null {
    const sorted = this.#steps.toSorted((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)] ?? null
  }

  /** Time of all decoding steps together, embedding and head included, ms. */
  get stepsMs(): number {
    return this.#stepsMs
  }

  /** Prefill chunks don't count: their rows share the reading of the weights. */
  add(span: number, rows: number, ms: number): void {
    if (rows === 1) this.#stepsMs += ms
    const share = this.#shares[span] ?? null
    if (rows !== 1 || share === null) return
    this.#steps.push(ms * share)
    if (this.#steps.length > STEPS) this.#steps.shift()
  }
}

/** By operations: embedding and head take their part of a run. */
function shareOf(manifest: Manifest, span: Span): number | null {
  const count = span.to - span.from
  if (count === 0) return null
  const [start, end] = segmentsOf(manifest, span)
  const all = manifest.segments.slice(start, end)
  const inner = manifest.segments.slice(span.from + 1, span.to + 1)
  const flops = (some: typeof all) =>
    some.reduce((sum, segment) => sum + segment.flops, 0)
  return flops(all) > 0 ? flops(inner) / flops(all) / count : 1 / count
}
