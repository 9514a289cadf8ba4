/**
 * GroupQueryAttention (onnxruntime's contrib operators) of one sequence, on caches that past
 * and present share.
 */
import { ATTENDED, SLACK_BYTES, type AttentionKernel } from './attention-kernel.ts'
import { allocate, heap, type HeapModule } from './heap-module.ts'
import type { HeapTensor } from './heap-session.ts'

export interface AttentionShape {
  readonly heads: number
  readonly kvHeads: number
  /** Of the scores; 0: one over the root of a head's width. */
  readonly scale: number
  /** Values that turn together: neighbours, else those half of the turning part apart. */
  readonly interleaved: boolean
}

export interface AttentionInputs {
  /** Float32 `[1, rows, heads * width]`; without key and value all three are in it. */
  readonly query: HeapTensor
  /** Float32 `[1, rows, kvHeads * width]`. */
  readonly key: HeapTensor | null
  readonly value: HeapTensor | null
  /** Float32 `[1, kvHeads, capacity, width]`; get the rows' own keys and values. */
  readonly keys: HeapTensor
  readonly values: HeapTensor
  /** Int32: rows of keys and values after the run, less one. */
  readonly last: HeapTensor
  /** Float32 `[positions, half of the turning part]`; null: nothing turns. */
  readonly cos: HeapTensor | null
  readonly sin: HeapTensor | null
}

/** Of the result, float32 `[1, rows, heads * width]`. */
export function attendedDims(
  { query, keys }: AttentionInputs,
  { heads }: AttentionShape,
): number[] {
  return [query.dims[0] ?? 0, query.dims[1] ?? 0, heads * (keys.dims.at(-1) ?? 0)]
}

/** @param output address of the result. @throws Error for shapes that do not fit */
export function attend(
  module: HeapModule,
  kernel: AttentionKernel,
  inputs: AttentionInputs,
  shape: AttentionShape,
  output: number,
): void {
  const { query, key, value, keys, values, cos, sin } = inputs
  const { heads, kvHeads, interleaved } = shape
  const [batch, rows = 0] = query.dims
  const [, , capacity = 0, width = 0] = keys.dims
  const floats = (tensor: HeapTensor): Float32Array =>
    new Float32Array(heap(module).buffer, tensor.address, tensor.bytes / 4)
  const lastRow = new Int32Array(heap(module).buffer, inputs.last.address, 1)[0] ?? 0
  const past = lastRow + 1 - rows
  const packed = key === null || value === null
  const all = packed ? heads + 2 * kvHeads : heads
  const fits =
    batch === 1 &&
    query.dims[2] === all * width &&
    (packed || key.dims[2] === kvHeads * width) &&
    past >= 0 &&
    past + rows <= capacity &&
    past + rows <= (cos?.dims[0] ?? Infinity) &&
    width % ATTENDED === 0
  if (!fits) throw new Error('an attention got tensors of other shapes')
  const scale = shape.scale || 1 / Math.sqrt(width)
  const room = allocate(
    module,
    4 * rows * heads * width + 4 * (past + rows + 3) + SLACK_BYTES,
  )
  try {
    const turned = new Float32Array(heap(module).buffer, room, rows * heads * width)
    const turn = turner(cos && floats(cos), sin && floats(sin), cos?.dims[1] ?? 0, {
      width,
      interleaved,
    })
    const [source, keyRows, valueRows] = [floats(query), floats(keys), floats(values)]
    const newKeys = packed ? source : floats(key)
    const newValues = packed ? source : floats(value)
    for (let row = 0; row < rows; row++) {
      const position = past + row
      for (let head = 0; head < heads; head++) {
        const from = (row * all + head) * width
        turn(source, from, turned, (row * heads + head) * width, position, scale)
      }
      for (let head = 0; head < kvHeads; head++) {
        const to = (head * capacity + position) * width
        const [k, v] = packed
          ? [row * all + heads + head, row * all + heads + kvHeads + head]
          : [row * kvHeads + head, row * kvHeads + head]
        turn(newKeys, k * width, keyRows, to, position, 1)
        valueRows.set(newValues.subarray(v * width, (v + 1) * width), to)
      }
    }
    const bytes = 4 * width
    const scores = room + rows * heads * bytes
    // Row after row within a head, whose keys and values stay in the processor's cache.
    for (let head = 0; head < heads; head++) {
      const start = Math.floor((head * kvHeads) / heads) * capacity * bytes
      for (let row = 0; row < rows; row++) {
        const at = (row * heads + head) * bytes
        kernel.attend(
          room + at,
          keys.address + start,
          values.address + start,
          output + at,
          scores,
          bytes,
          past + row + 1,
        )
      }
    }
  } finally {
    module._free(room)
  }
}

/** Rotary position embedding (Su et al. 2021, RoFormer, section 3.2), and a factor. */
function turner(
  cos: Float32Array | null,
  sin: Float32Array | null,
  half: number,
  { width, interleaved }: { readonly width: number; readonly interleaved: boolean },
) {
  const turning = cos && sin ? half : 0
  const [step, apart] = interleaved ? [2, 1] : [1, half]
  return (
    from: Float32Array,
    at: number,
    to: Float32Array,
    start: number,
    position: number,
    factor: number,
  ): void => {
    for (let i = 0; i < turning; i++) {
      const [a, b] = [at + step * i, at + step * i + apart]
      const c = (cos?.[position * half + i] ?? 0) * factor
      const s = (sin?.[position * half + i] ?? 0) * factor
      const [x, y] = [from[a] ?? 0, from[b] ?? 0]
      to[start + step * i] = x * c - y * s
      to[start + step * i + apart] = y * c + x * s
    }
    for (let i = 2 * turning; i < width; i++) to[start + i] = (from[at + i] ?? 0) * factor
  }
}
