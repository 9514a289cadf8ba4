/** Fills the inputs of a session that are neither hidden states nor filled caches. */
import {
  evaluate,
  type Cache,
  type Dtype,
  type Feed,
} from '../../model-split/manifest.ts'
import { byteLength, dimsFor, type RunSize } from './tensors.ts'
import { StageError, type TensorData } from './types.ts'

/**
 * One integer input.
 * @param ids batch after batch, `B * S` of them; only where the feed asks for ids.
 * @throws StageError `bad-input` where ids are missing or too many.
 */
export function fillFeed(
  name: string,
  feed: Feed,
  size: RunSize,
  ids: readonly number[] | undefined,
): TensorData {
  const { dtype } = feed
  const dims = dimsFor(feed.dims, size)
  const count = dims.reduce((product, dim) => product * dim, 1)
  const tensor = (value: (i: number) => number) => fromNumbers(dtype, dims, count, value)
  const { fill } = feed
  switch (fill.kind) {
    case 'ids': {
      if (ids?.length !== count)
        throw new StageError(
          'bad-input',
          `"${name}" needs ${count} token ids and got ${ids?.length ?? 0}; ask again.`,
        )
      if (!ids.every((id) => Number.isSafeInteger(id) && id >= 0))
        throw new StageError('bad-input', 'A token id is not a whole number; ask again.')
      return tensor((i) => ids[i] ?? 0)
    }
    case 'ones':
      return tensor(() => 1)
    case 'positions': {
      const last = dims.at(-1) ?? 1
      return tensor((i) => size.past + (i % last))
    }
    case 'values': {
      const { values } = fill
      if (values.length !== count)
        throw new StageError(
          'bad-model',
          `The manifest gives "${name}" too few or many values.`,
        )
      return tensor((i) => {
        const value = values[i]
        return value ? evaluate(value, size.batch, size.rows, size.past) : 0
      })
    }
  }
}

/** A cache before its first row: no rows, or a state of zeros. */
export function emptyCache(cache: Cache, batch: number): TensorData {
  const dims = dimsFor(cache.dims, { batch, rows: 0, past: 0 })
  return {
    dtype: cache.dtype,
    dims,
    bytes: new Uint8Array(byteLength(cache.dtype, dims)),
  }
}

function fromNumbers(
  dtype: Dtype,
  dims: readonly number[],
  count: number,
  value: (i: number) => number,
): TensorData {
  const array = arrayOf(dtype, count)
  if (array instanceof BigInt64Array || array instanceof BigUint64Array)
    for (let i = 0; i < count; i++) array[i] = BigInt(value(i))
  else for (let i = 0; i < count; i++) array[i] = value(i)
  return { dtype, dims, bytes: new Uint8Array(array.buffer) }
}

function arrayOf(dtype: Dtype, count: number) {
  switch (dtype) {
    case 'float32':
      return new Float32Array(count)
    case 'float64':
      return new Float64Array(count)
    case 'int64':
      return new BigInt64Array(count)
    case 'uint64':
      return new BigUint64Array(count)
    case 'int32':
      return new Int32Array(count)
    case 'uint32':
      return new Uint32Array(count)
    case 'int16':
      return new Int16Array(count)
    case 'uint16':
      return new Uint16Array(count)
    case 'int8':
      return new Int8Array(count)
    case 'uint8':
    case 'bool':
      return new Uint8Array(count)
    default:
      throw new StageError('bad-model', `The model asks for an input of type ${dtype}.`)
  }
}
