/**
 * Quantised weights in forms that have fast WASM kernels. Both are lossless: the product of
 * the same integers and scales that the packed form stands for, rounded to float32 once.
 *
 * Packed rows run along k for each of the n columns; the derived forms are `[k, n]`. Columns
 * are taken in strips of one cache line, so that the transposed writes stay sequential.
 */
import type { WeightBlob } from '../../model-split/manifest.ts'
import { StageError } from './types.ts'

type Quantised = WeightBlob['quantised'][number]

const STRIP = 16

/** Float32 `[k, n]` matrices at each entry's `dense` offset. */
export function deriveDense(blob: WeightBlob, packed: Uint8Array): Uint8Array {
  const result = new Uint8Array(blob.denseBytes)
  for (const entry of blob.quantised) {
    check(entry, packed, entry.dense, 4 * entry.k * entry.n, blob.denseBytes)
    dense(entry, packed, new Float32Array(result.buffer, entry.dense, entry.k * entry.n))
  }
  return result
}

/**
 * Int8 `[k, n]` and float32 scales `[k/block, n]` at the `lean` offsets of the entries that
 * have some.
 */
export function deriveLean(blob: WeightBlob, packed: Uint8Array): Uint8Array {
  const result = new Uint8Array(blob.leanBytes)
  for (const entry of blob.quantised) {
    const { k, n, lean } = entry
    if (lean === null) continue
    const blocks = blocksOf(entry)
    check(entry, packed, lean.q, k * n, blob.leanBytes)
    check(entry, packed, lean.scales, 4 * blocks * n, blob.leanBytes)
    leanIntegers(entry, packed, new Int8Array(result.buffer, lean.q, k * n))
    const scales = floats(packed, entry.scales, blocks * n)
    const out = new Float32Array(result.buffer, lean.scales, blocks * n)
    for (let column = 0; column < n; column++)
      for (let b = 0; b < blocks; b++)
        out[b * n + column] = scales[column * blocks + b] ?? NaN
  }
  return result
}

function dense(entry: Quantised, packed: Uint8Array, out: Float32Array): void {
  const { k, n, block, bits } = entry
  const blocks = blocksOf(entry)
  const scales = floats(packed, entry.scales, blocks * n)
  const blockBytes = (block * bits) / 8
  const stride = blocks * blockBytes
  const q = packed.subarray(entry.q, entry.q + n * stride)
  const scale = new Float32Array(STRIP)
  const zero = new Float32Array(STRIP)
  for (let left = 0; left < n; left += STRIP) {
    const width = Math.min(STRIP, n - left)
    for (let b = 0; b < blocks; b++) {
      for (let j = 0; j < width; j++) {
        scale[j] = scales[(left + j) * blocks + b] as number
        zero[j] = zeroOf(entry, packed, left + j, b, blocks)
      }
      const first = b * block
      const last = Math.min(k, first + block)
      let from = left * stride + b * blockBytes
      let to = first * n + left
      if (bits === 8) {
        for (let row = first; row < last; row++, from++, to += n)
          for (let j = 0; j < width; j++)
            out[to + j] =
              ((q[from + j * stride] as number) - (zero[j] as number)) *
              (scale[j] as number)
      } else {
        for (let row = first; row < last; row += 2, from++, to += 2 * n) {
          const both = row + 1 < last
          for (let j = 0; j < width; j++) {
            const byte = q[from + j * stride] as number
            const z = zero[j] as number
            const s = scale[j] as number
            out[to + j] = ((byte & 15) - z) * s
            if (both) out[to + n + j] = ((byte >> 4) - z) * s
          }
        }
      }
    }
  }
}

function leanIntegers(entry: Quantised, packed: Uint8Array, out: Int8Array): void {
  const { k, n, block, bits } = entry
  const blocks = blocksOf(entry)
  const blockBytes = (block * bits) / 8
  const stride = blocks * blockBytes
  const q = packed.subarray(entry.q, entry.q + n * stride)
  const zero = new Int32Array(STRIP)
  let lowest = 0
  let highest = 0
  for (let left = 0; left < n; left += STRIP) {
    const width = Math.min(STRIP, n - left)
    for (let b = 0; b < blocks; b++) {
      for (let j = 0; j < width; j++) zero[j] = zeroOf(entry, packed, left + j, b, blocks)
      const first = b * block
      const last = Math.min(k, first + block)
      let from = left * stride + b * blockBytes
      let to = first * n + left
      if (bits === 8) {
        for (let row = first; row < last; row++, from++, to += n)
          for (let j = 0; j < width; j++) {
            const value = (q[from + j * stride] as number) - (zero[j] as number)
            if (value < lowest) lowest = value
            if (value > highest) highest = value
            out[to + j] = value
          }
      } else {
        for (let row = first; row < last; row += 2, from++, to += 2 * n) {
          const both = row + 1 < last
          for (let j = 0; j < width; j++) {
            const byte = q[from + j * stride] as number
            const z = zero[j] as number
            out[to + j] = (byte & 15) - z
            if (both) out[to + n + j] = (byte >> 4) - z
          }
        }
      }
    }
  }
  if (lowest < -128 || highest > 127)
    throw new StageError(
      'bad-model',
      'The weights of this model do not fit the memory-saving form; load it in another mode.',
    )
}

function zeroOf(
  { bits, zeros }: Quantised,
  packed: Uint8Array,
  column: number,
  b: number,
  blocks: number,
): number {
  if (zeros === null) return 2 ** (bits - 1)
  if (bits === 8) return packed[zeros + column * blocks + b] as number
  const byte = packed[zeros + column * Math.ceil(blocks / 2) + (b >> 1)] as number
  return b & 1 ? byte >> 4 : byte & 15
}

function blocksOf({ k, block }: Quantised): number {
  return Math.ceil(k / block)
}

/** A view where the alignment allows it, else a copy. */
function floats(bytes: Uint8Array, offset: number, length: number): Float32Array {
  const start = bytes.byteOffset + offset
  return start % 4 === 0
    ? new Float32Array(bytes.buffer, start, length)
    : new Float32Array(bytes.slice(offset, offset + 4 * length).buffer)
}

function check(
  entry: Quantised,
  packed: Uint8Array,
  offset: number,
  length: number,
  room: number,
): void {
  const { k, n, block, bits } = entry
  const blocks = blocksOf(entry)
  const ends = [
    entry.q + (n * blocks * block * bits) / 8,
    entry.scales + 4 * n * blocks,
    entry.zeros === null ? 0 : entry.zeros + n * Math.ceil((blocks * bits) / 8),
  ]
  const fits =
    k > 0 &&
    n > 0 &&
    block > 0 &&
    block % 2 === 0 &&
    offset % 4 === 0 &&
    offset + length <= room
  if (!fits || Math.max(...ends) > packed.byteLength)
    throw new StageError(
      'bad-model',
      `The weights of "${entry.name}" do not fit their file. Remove the model and download it again.`,
    )
}
