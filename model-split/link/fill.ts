/** Fills the inputs of a run that are neither hidden states nor filled caches. */
import { evaluate, type Cache, type Dtype, type Feed } from '../manifest.ts'

/** B sequences, S new rows each, P rows in the caches. */
export interface RunShape {
  readonly batch: number
  readonly rows: number
  readonly past: number
}

/** A tensor in little-endian bytes. */
export interface Filled {
  readonly dtype: Dtype
  readonly dims: number[]
  readonly bytes: Uint8Array<ArrayBuffer>
}

/**
 * @param ids token ids, `[B, S]` row by row; needed where the feed is the ids.
 */
export function fillFeed(
  feed: Feed,
  shape: RunShape,
  ids: readonly number[] = [],
): Filled {
  const { batch, rows, past } = shape
  const dims = feed.dims.map((dim) => evaluate(dim, batch, rows, past))
  const size = dims.reduce((product, dim) => product * dim, 1)
  const value = ((): ((i: number) => number) => {
    const { fill } = feed
    switch (fill.kind) {
      case 'ids':
        if (ids.length !== size)
          throw new Error(`${ids.length} token ids were given for a run of ${size}.`)
        return (i) => ids[i] ?? 0
      case 'ones':
        return () => 1
      case 'positions':
        return (i) => past + (i % rows)
      case 'values': {
        const values = fill.values.map((affine) => evaluate(affine, batch, rows, past))
        return (i) => values[i % values.length] ?? 0
      }
    }
  })()
  const elements = integers(feed.dtype, size)
  for (let i = 0; i < size; i++) elements.set(i, value(i))
  return { dtype: feed.dtype, dims, bytes: elements.bytes }
}

/** The cache of a sequence that has no rows yet; states of fixed size start at zero. */
export function emptyCache(cache: Cache, batch = 1): Filled {
  const dims = cache.dims.map((dim) => evaluate(dim, batch, 0, 0))
  const size = dims.reduce((product, dim) => product * dim, 1)
  const width = ELEMENT_BYTES[cache.dtype]
  return { dtype: cache.dtype, dims, bytes: new Uint8Array(Math.ceil(size * width)) }
}

export const ELEMENT_BYTES: Readonly<Record<Dtype, number>> = {
  float64: 8,
  int64: 8,
  uint64: 8,
  float32: 4,
  int32: 4,
  uint32: 4,
  float16: 2,
  bfloat16: 2,
  int16: 2,
  uint16: 2,
  int8: 1,
  uint8: 1,
  bool: 1,
  int4: 0.5,
  uint4: 0.5,
}

function integers(
  dtype: Dtype,
  size: number,
): { bytes: Uint8Array<ArrayBuffer>; set: (i: number, value: number) => void } {
  const bytes = new Uint8Array(size * ELEMENT_BYTES[dtype])
  const view = new DataView(bytes.buffer)
  switch (dtype) {
    case 'int64':
    case 'uint64':
      return { bytes, set: (i, value) => view.setBigInt64(8 * i, BigInt(value), true) }
    case 'int32':
    case 'uint32':
      return { bytes, set: (i, value) => view.setInt32(4 * i, value, true) }
    case 'float32':
      return { bytes, set: (i, value) => view.setFloat32(4 * i, value, true) }
    case 'bool':
    case 'int8':
    case 'uint8':
      return { bytes, set: (i, value) => view.setInt8(i, value) }
    default:
      throw new Error(`An integer input of type ${dtype} cannot be filled.`)
  }
}
