/**
 * Runs the golden prompt through what a device has loaded, before it may serve: a graphics
 * processor can be wrong and finite. The same runs measure its speed.
 */
import type { Dtype, Manifest } from '../../model-split/manifest.ts'
import { inputsOf, outputsOf, segmentsOf, type Span } from '../../model-split/span.ts'
import { Golden, relativeError } from './golden.ts'
import { slice } from './tensors.ts'
import type { Engine, EngineKind, TensorData } from './types.ts'

export interface CanaryOptions {
  readonly engine: Engine
  readonly layout: number
  readonly manifest: Manifest
  /** Bytes of golden.bin. */
  readonly golden: Uint8Array
  /** As they were loaded. */
  readonly spans: readonly Span[]
  /** Milliseconds; `performance.now`. */
  readonly clock: () => number
  readonly signal?: AbortSignal
}

export interface CanaryFigures {
  /** Worst relative error, where it was and what would have been allowed. */
  readonly error: number
  readonly tensor: string
  readonly tolerance: number
  /** One token through one layer; NaN where no layer is loaded. */
  readonly msPerLayer: number
  /** Embedding and head of one token; null where neither is loaded. */
  readonly msStarter: number | null
}

export type CanaryVerdict =
  | ({ readonly kind: 'ok' } & CanaryFigures)
  | ({ readonly kind: 'wrong-result'; readonly message: string } & CanaryFigures)

/** No room uses this number: they are (join number << 16) | counter, and not negative. */
const SEQUENCE = -1
const WIDE = -2
/** Long prompts take other kernels (attention from 32 rows on), which can be wrong alone. */
const WIDE_ROWS = 48
const NARROW_ROWS = 8
/**
 * Some models quantise activations by the largest value of a run (`DynamicQuantizeLinear`): their
 * numbers hang on the rows that run together. Rows in pieces may then differ by so much, where
 * the whole prompt at once is right.
 */
const ROUGH = 0.1
const NONE = { error: 0, tensor: '', tolerance: 0, share: 0 }
/** Timed repetitions of the last row; the median counts. */
const REPETITIONS = 5

/**
 * What a right runtime may differ by, relative to the largest value of a row.
 * - float32: the order of additions alone gives 1e-6 a layer, which thirty layers blow up to
 *   1e-4; a wrong kernel is off by 0.1 or more.
 * - quantised weights: a runtime may quantise the activations to 8 bits as well, which alone
 *   is 0.01 of the logits' range.
 * - float16: 2^-11 a rounding, many roundings a layer.
 */
export function toleranceFor(kind: EngineKind, dtype: Dtype, quantised: boolean): number {
  if (dtype === 'float16' || dtype === 'bfloat16') return 0.1
  if (quantised) return kind === 'webgpu' ? 0.1 : 0.02
  return kind === 'webgpu' ? 0.01 : 1e-3
}

/**
 * @throws StageError where a run fails. Numbers that differ are a verdict, not an error.
 */
export async function runCanary(options: CanaryOptions): Promise<CanaryVerdict> {
  const { engine, layout, manifest, spans } = options
  const golden = new Golden(manifest, options.golden)
  const quantised = Object.values(manifest.blobs).some(
    (blob) => blob.quantised.length > 0,
  )
  let worst = NONE
  const compare = (
    tensor: string,
    actual: TensorData | undefined,
    wanted: TensorData,
  ): void => {
    const error = actual ? relativeError(actual, wanted) : Infinity
    const tolerance = toleranceFor(engine.kind, wanted.dtype, quantised)
    const share = error / tolerance
    if (share > worst.share || worst.tensor === '')
      worst = { error, tensor, tolerance, share }
  }
  /** The golden prompt over and over, at once and in pieces that take other kernels. */
  const widen = async (
    index: number,
    span: Span,
    read: readonly string[],
    names: readonly string[],
  ): Promise<void> => {
    const { length } = golden.ids
    const tile = async (from: number, rows: number): Promise<Map<string, TensorData>> => {
      options.signal?.throwIfAborted()
      const repeat = Array.from({ length: rows }, (_, i) => (from + i) % length)
      const inputs = new Map(read.map((name) => [name, golden.rows(name, repeat)]))
      const ids = span.embed ? { ids: repeat.map((i) => golden.ids[i] ?? 0) } : {}
      return engine.run({
        layout,
        span: index,
        sequence: WIDE,
        position: from,
        rows,
        inputs,
        ...ids,
      })
    }
    let pieces = new Map<string, TensorData>()
    for (let from = 0; from < WIDE_ROWS; from += NARROW_ROWS)
      pieces = await tile(from, NARROW_ROWS)
    const whole = await tile(0, WIDE_ROWS)
    for (const name of [...names, ...(span.head ? [manifest.logits.name] : [])]) {
      const axis = golden.rowAxis(name)
      const wanted = pieces.get(name)
      const actual = whole.get(name)
      const last = (t: TensorData): TensorData =>
        axis === null
          ? t
          : slice(t, axis, (t.dims[axis] ?? 0) - NARROW_ROWS, t.dims[axis] ?? 0)
      if (wanted) compare(`${name} of ${WIDE_ROWS} rows`, actual && last(actual), wanted)
    }
  }

  /**
   * Rows of the golden prompt behind those that ran before; returns the time.
   * @param everyRow the head sees all of them, as where the golden states were computed.
   */
  const run = async (
    index: number,
    span: Span,
    [from, to]: readonly [number, number],
    everyRow = false,
  ): Promise<number> => {
    options.signal?.throwIfAborted()
    const inputs = new Map(
      inputsOf(manifest, span).map((name) => [name, golden.border(name, from, to)]),
    )
    const ids = span.embed ? { ids: golden.ids.slice(from, to) } : {}
    const place = { layout, span: index, sequence: SEQUENCE }
    const step = { ...place, position: from, rows: to - from, inputs, everyRow, ...ids }
    const start = options.clock()
    const found = await engine.run(step)
    const ms = options.clock() - start
    for (const name of outputsOf(manifest, span))
      compare(name, found.get(name), golden.border(name, from, to))
    const { name } = manifest.logits
    const wanted = span.head ? golden.logits(to - 1) : null
    const logits = found.get(name)
    const rows = logits?.dims[1] ?? 0
    if (wanted) compare(name, logits && slice(logits, 1, rows - 1, rows), wanted)
    return ms
  }

  const times: number[] = []
  try {
    for (const [index, span] of spans.entries()) {
      const names = outputsOf(manifest, span)
      const read = inputsOf(manifest, span)
      const { length } = golden.ids
      const divides = length > 1 && golden.canDivide([...read, ...names])
      const last = divides ? length - 1 : 0
      if (divides) await run(index, span, [0, last])
      const laps: number[] = []
      for (let i = 0; i <= REPETITIONS; i++)
        laps.push(await run(index, span, [last, length]))
      // The first one also warms up.
      times.push(median(laps.slice(1)))
      if (divides && engine.kind === 'webgpu') await widen(index, span, read, names)
    }
    if (worst.share > 1 && worst.error <= ROUGH) {
      worst = NONE
      const whole = [0, golden.ids.length] as const
      for (const [index, span] of spans.entries()) await run(index, span, whole, true)
    }
  } finally {
    engine.drop(SEQUENCE)
    engine.drop(WIDE)
  }
  const { error, tensor, tolerance } = worst
  const figures = { error, tensor, tolerance, ...speed(manifest, spans, times) }
  if (worst.share <= 1) return { kind: 'ok', ...figures }
  const message = `This device computes "${tensor}" wrongly: off by ${show(error)} where ${show(tolerance)} is allowed.`
  return { kind: 'wrong-result', message, ...figures }
}

/** Shares the time of a span out between its layers and the rest by their operations. */
function speed(
  manifest: Manifest,
  spans: readonly Span[],
  times: readonly number[],
): { msPerLayer: number; msStarter: number | null } {
  let layerMs = 0
  let layers = 0
  let starterMs = 0
  spans.forEach((span, index) => {
    const ms = times[index] ?? 0
    const [start, end] = segmentsOf(manifest, span)
    const segments = manifest.segments.slice(start, end)
    const first = span.embed ? 1 : 0
    const count = span.to - span.from
    const flops = (some: typeof segments) =>
      some.reduce((sum, segment) => sum + segment.flops, 0)
    const all = flops(segments)
    const inner = flops(segments.slice(first, first + count))
    const part = count === 0 ? 0 : all > 0 ? inner / all : 1
    layerMs += ms * part
    layers += count
    starterMs += ms * (1 - part)
  })
  const starts = spans.some((span) => span.embed || span.head)
  return { msPerLayer: layerMs / layers, msStarter: starts ? starterMs : null }
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? NaN
}

function show(value: number): string {
  return Number.isFinite(value) ? value.toPrecision(2) : 'infinitely much'
}
