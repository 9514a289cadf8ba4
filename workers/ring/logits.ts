/** Logits as the head gives them. */
import type { Manifest } from '../../model-split/manifest.ts'
import { byteLength, toNumbers } from '../stage/tensors.ts'
import { StageError, type TensorData } from '../stage/types.ts'

export const BROKEN = 'A phone could not compute its part; ask again.'

/** Of the last `count` rows that the head computed. @throws StageError */
export function rowsOf(
  { logits: { name }, vocabulary }: Manifest,
  outputs: ReadonlyMap<string, TensorData>,
  count: number,
): (Float32Array | Float64Array)[] {
  const tensor = outputs.get(name)
  if (!tensor) throw new StageError('wrong-result', BROKEN)
  const { dtype, dims, bytes } = tensor
  const width = dims.at(-1) ?? vocabulary
  const size = byteLength(dtype, [width])
  const start = bytes.byteLength - count * size
  if (start < 0) throw new StageError('wrong-result', BROKEN)
  return Array.from({ length: count }, (_, i) => {
    const row = bytes.subarray(start + i * size, start + (i + 1) * size)
    // Some exports pad the vocabulary.
    return toNumbers({ dtype, dims: [width], bytes: row }).subarray(0, vocabulary)
  })
}
