/** Rows of a layer's caches on their way from one device to another. */
import type { Cache } from '../../model-split/manifest.ts'
import { byteLength, dimsFor } from './tensors.ts'
import { StageError, type TensorData } from './types.ts'

/** False where a recurrent state is all or nothing. */
export function copiesRows(caches: readonly Cache[]): boolean {
  return caches.every(({ axis }) => axis !== null)
}

/** What so many rows of a cache look like on their way. */
export function rowDims({ dims, axis }: Cache, rows: number): number[] {
  return dimsFor(dims, { batch: 1, rows: 0, past: axis === null ? 0 : rows })
}

/** @throws StageError `bad-input` where the tensors are not these rows of these caches. */
export function checkRows(
  caches: readonly Cache[],
  rows: number,
  tensors: readonly TensorData[],
): void {
  const fit = caches.every((cache, i) => {
    const tensor = tensors[i]
    const dims = rowDims(cache, rows)
    return (
      tensor?.dtype === cache.dtype &&
      tensor.dims.join() === dims.join() &&
      tensor.bytes.byteLength === byteLength(cache.dtype, dims)
    )
  })
  if (!fit || tensors.length !== caches.length)
    throw new StageError(
      'bad-input',
      'The rows that were sent do not fit the model; the chat is read again.',
    )
}
