/** What running a model costs, read from its manifest. */
import { evaluate } from '../manifest.ts'
import type { Affine, Dtype, Manifest, Segment } from '../manifest.ts'
import { MODES } from './types.ts'
import type { Mode } from './types.ts'

/** Facts about a model of n layers; tables over spans have stride n + 1. */
export interface ModelCosts {
  readonly layers: number
  /** Longest context that the model was made for. */
  readonly context: number
  /** Work of each layer for one token; the mean is 1. */
  readonly work: readonly number[]
  /** Work of embedding and head for one token, in layers. */
  readonly starterWork: number
  /** Resident weights of a span `[from, to)` at `from * (n + 1) + to`; shared ones once. */
  readonly spanBytes: Readonly<Record<Mode, Float64Array>>
  /** Resident weights of a starter with layers `[0, to)`, embedding and head, at `to`. */
  readonly starterBytes: Readonly<Record<Mode, Float64Array>>
  /** Cache bytes of each layer for one row of one sequence. */
  readonly rowBytes: readonly number[]
  /** Cache bytes of each layer for one sequence, whatever its length. */
  readonly stateBytes: readonly number[]
  /**
   * Bytes that cross the border before layer b for one token, n + 1 of them. Residual tensors
   * count at every border that they pass, which is an upper bound: they travel directly.
   */
  readonly borderBytes: readonly number[]
}

const known = new WeakMap<Manifest, ModelCosts>()

/** Reads the costs of a cut model: O(n³) for the first time. */
export function modelCosts(manifest: Manifest): ModelCosts {
  const costs = known.get(manifest) ?? readCosts(manifest)
  known.set(manifest, costs)
  return costs
}

function readCosts(manifest: Manifest): ModelCosts {
  const { layers, segments } = manifest
  const body = segments.slice(1, layers + 1)
  const flops = body.map((segment) => segment.flops)
  const mean = flops.reduce((a, b) => a + b, 0) / Math.max(1, layers)
  const ends = (segments[0]?.flops ?? 0) + (segments[layers + 1]?.flops ?? 0)
  const cacheAt = (segment: Segment, past: number) =>
    segment.caches.reduce((sum, cache) => sum + bytesOf(cache.dtype, cache.dims, past), 0)
  return {
    layers,
    context: manifest.context,
    work: flops.map((f) => (mean > 0 ? f / mean : 1)),
    starterWork: mean > 0 ? ends / mean : 1,
    ...weightTables(manifest),
    rowBytes: body.map((segment) => cacheAt(segment, 1) - cacheAt(segment, 0)),
    stateBytes: body.map((segment) => cacheAt(segment, 0)),
    borderBytes: Array.from({ length: layers + 1 }, (_, b) => borderBytes(manifest, b)),
  }
}

const BITS: Readonly<Partial<Record<Dtype, number>>> = {
  float64: 64,
  int64: 64,
  uint64: 64,
  float16: 16,
  bfloat16: 16,
  int16: 16,
  uint16: 16,
  int8: 8,
  uint8: 8,
  bool: 8,
  int4: 4,
  uint4: 4,
}

function bytesOf(dtype: Dtype, dims: readonly Affine[], past: number): number {
  const count = dims.reduce((product, dim) => product * evaluate(dim, 1, 1, past), 1)
  return Math.ceil((count * (BITS[dtype] ?? 32)) / 8)
}

function borderBytes(manifest: Manifest, border: number): number {
  const head = manifest.layers + 1
  return Object.values(manifest.tensors)
    .filter(({ from, to }) => {
      if (from > border) return false
      // What only goes from the embedding to the head stays on the starter.
      return to.some((reader) => reader > border && !(from === 0 && reader === head))
    })
    .reduce((sum, { dtype, dims }) => sum + bytesOf(dtype, dims, 0), 0)
}

type ByMode = Record<Mode, Float64Array>

function byMode(table: (mode: Mode) => Float64Array): ByMode {
  return { dense: table('dense'), lean: table('lean'), packed: table('packed') }
}

function weightTables(
  manifest: Manifest,
): Pick<ModelCosts, 'spanBytes' | 'starterBytes'> {
  const { layers } = manifest
  const stride = layers + 1
  const spanBytes = byMode(() => new Float64Array(stride * stride))
  const starterBytes = byMode(() => new Float64Array(stride))
  for (const { from, to, blobs } of spansOfAll(manifest))
    for (const mode of MODES)
      if (from === 0) starterBytes[mode][to - 1] = residentBytes(manifest, blobs, mode)
      else
        spanBytes[mode][(from - 1) * stride + to - 1] = residentBytes(
          manifest,
          blobs,
          mode,
        )
  return { spanBytes, starterBytes }
}

/** Bytes that the blobs take when loaded for a span in a mode. */
function residentBytes(
  manifest: Manifest,
  blobs: ReadonlySet<string>,
  mode: Mode,
): number {
  let bytes = 0
  for (const id of blobs) {
    const blob = manifest.blobs[id]
    if (!blob) throw new Error(`manifest.json names weights "${id}" that it lacks.`)
    bytes += blob.resident[mode]
  }
  return bytes
}

/**
 * Blobs of every range of segments `[from, to)` that a device may have: layers, or from the
 * embedding on, then with the head. What `blobsOf` gives, but one segment at a time.
 */
function* spansOfAll(
  manifest: Manifest,
): Generator<{ from: number; to: number; blobs: ReadonlySet<string> }> {
  const { layers, segments } = manifest
  const head = segments[layers + 1]
  for (let from = 0; from <= layers; from++) {
    const loaded = new Loaded(manifest)
    for (let to = from + 1; to <= layers + 1; to++) {
      const segment = segments[to - 1]
      if (!segment) continue
      const { entry } = segment
      loaded.add([
        ...((to - 1 === from ? entry?.border : entry?.inside) ?? []),
        ...segment.pieces,
      ])
      const here = new Loaded(manifest, loaded)
      // The head is a span of its own unless the starter has every layer.
      const whole = from === 0 && to === layers + 1
      if (!whole) here.add(segment.exit)
      if (from === 0 && head) {
        const join = whole ? head.entry?.inside : head.entry?.border
        here.add([...(join ?? []), ...head.pieces, ...head.exit])
      }
      yield { from, to, blobs: here.blobs }
    }
  }
}

/** Graph pieces that are linked so far, each once, and the blobs that they name. */
class Loaded {
  readonly blobs: Set<string>
  readonly #pieces: Set<string>
  readonly #manifest: Manifest

  constructor(manifest: Manifest, before?: Loaded) {
    this.#manifest = manifest
    this.#pieces = new Set(before ? before.#pieces : [])
    this.blobs = new Set(before?.blobs)
  }

  add(ids: readonly string[]): void {
    for (const id of ids) {
      if (this.#pieces.has(id)) continue
      this.#pieces.add(id)
      const piece = this.#manifest.pieces[id]
      if (!piece)
        throw new Error(`manifest.json names a graph piece "${id}" that it lacks.`)
      for (const blob of piece.blobs) this.blobs.add(blob)
      this.add(piece.needs)
    }
  }
}

/** Costs of a model whose layers share no weights, from plain figures. */
export interface PlainCosts {
  readonly context: number
  /** Bytes of each layer's weights, by mode. */
  readonly layerBytes: Readonly<Record<Mode, readonly number[]>>
  /** Bytes of embedding and head together, by mode. */
  readonly starterBytes: Readonly<Record<Mode, number>>
  /** Any unit; scaled to a mean of 1. */
  readonly work: readonly number[]
  /** Embedding and head, in the unit of `work`. */
  readonly starterWork: number
  readonly rowBytes: readonly number[]
  readonly borderBytes: readonly number[]
}

/** Tables from plain figures, for models that have no manifest (yet). */
export function costsOf(plain: PlainCosts): ModelCosts {
  const layers = plain.work.length
  const stride = layers + 1
  const mean = plain.work.reduce((a, b) => a + b, 0) / Math.max(1, layers) || 1
  const spans = (mode: Mode) => {
    const table = new Float64Array(stride * stride)
    for (let from = 0; from < layers; from++)
      for (let to = from + 1; to <= layers; to++)
        table[from * stride + to] =
          (table[from * stride + to - 1] ?? 0) + (plain.layerBytes[mode][to - 1] ?? 0)
    return table
  }
  const spanBytes = {
    dense: spans('dense'),
    lean: spans('lean'),
    packed: spans('packed'),
  }
  return {
    layers,
    context: plain.context,
    work: plain.work.map((w) => w / mean),
    starterWork: plain.starterWork / mean,
    spanBytes,
    starterBytes: byMode((mode) => {
      const own = plain.starterBytes[mode]
      return spanBytes[mode].slice(0, stride).map((bytes) => own + bytes)
    }),
    rowBytes: plain.rowBytes,
    stateBytes: plain.work.map(() => 0),
    borderBytes: plain.borderBytes,
  }
}
