/**
 * Products with int8 matrices, which the runtime can only do by writing the whole matrix out
 * as float32 first: four times the traffic.
 *
 * Rows of x are rounded to int16, block by block: `x = scale * q` with the largest of a block
 * at 32767, which errs by 2^-16 of it at most. Sums within a block are then exact integers,
 * `y = sum over blocks of (scale of w * scale of x) * sum of q of w * q of x`, so that a row
 * comes out the same, bit for bit, whichever rows are computed beside it.
 *
 * A matrix `[k, n]` lies in panels of 16 columns. A panel is a row of blocks along k; a block
 * is 16 float32 scales and then, for every two rows, the two int8 of each of its columns: a
 * product reads it from front to end.
 */
import { assemble, op, TYPE, type Code } from './wasm-code.ts'
import { advance, countDown, fold, splat } from './wasm-idioms.ts'

/** Columns of a panel: four vectors of float32. */
export const PANEL = 16
export const SCALE_BYTES = 4 * PANEL
/** Rows of w that are multiplied and summed by one instruction. */
export const PAIR = 2
/** Pairs in the body of the inner loop; divides every block size. */
const UNROLL = 4
const VECTORS = [0, 1, 2, 3] as const
const MOST_INT16 = 32767
/** A longer block could sum up to more than an int32 holds. */
export const MOST_BLOCK = 512
/** Bytes of a scale of x, and of two of its values. */
const WORD = 4

/** Rows of x that a call takes, from most to least. */
export const ROW_COUNTS = [4, 2, 1] as const

/** Strides are in bytes, from one row to the next. */
type Rows = (
  q: number,
  scales: number,
  w: number,
  y: number,
  block: number,
  blocks: number,
  panels: number,
  qStride: number,
  scaleStride: number,
  yStride: number,
) => void

/** Addresses are byte offsets into the memory; 4-byte aligned. */
export interface Int8Kernel {
  /** Rounds blocks of float32 to int16 `q` and a float32 scale each. */
  round(x: number, q: number, scales: number, block: number, blocks: number): void
  /** `y[row, 0..16 * panels) = x[row, 0..block * blocks) · w` for so many rows. */
  readonly rows1: Rows
  readonly rows2: Rows
  readonly rows4: Rows
}

export async function loadInt8Kernel(memory: WebAssembly.Memory): Promise<Int8Kernel> {
  const code = assemble([round(), ...ROW_COUNTS.map(rows)])
  const { instance } = await WebAssembly.instantiate(code, { env: { memory } })
  return instance.exports as unknown as Int8Kernel
}

function round() {
  const [x, q, scales, block, blocks] = [0, 1, 2, 3, 4]
  const [at, k, most, up] = [5, 6, 7, 8]
  const { v128, f32x4, i32x4, i16x8 } = op
  const full = splat(MOST_INT16)
  const four = (offset: number): Code => [
    ...op.get(x),
    ...v128.load(offset),
    ...op.get(up),
    ...f32x4.mul,
    ...f32x4.nearest,
    ...i32x4.trunc_sat_f32x4_s,
  ]
  const body = op.repeat(
    v128.zero,
    op.set(most),
    op.get(x),
    op.set(at),
    op.get(block),
    op.set(k),
    op.repeat(
      op.get(at),
      v128.load(0),
      f32x4.abs,
      op.get(most),
      f32x4.max,
      op.set(most),
      advance(at, 16),
      countDown(k, 4),
    ),
    fold(most, f32x4.max),
    op.get(scales),
    op.get(most),
    full,
    f32x4.div,
    v128.store32_lane(0),
    full,
    op.get(most),
    f32x4.div,
    op.set(up),
    op.get(block),
    op.set(k),
    op.repeat(
      op.get(q),
      four(0),
      four(16),
      i16x8.narrow_i32x4_s,
      v128.store(0),
      advance(x, 32),
      advance(q, 16),
      countDown(k, 8),
    ),
    advance(scales, WORD),
    countDown(blocks),
  )
  const locals = [TYPE.i32, TYPE.i32, TYPE.v128, TYPE.v128]
  return { name: 'round', parameters: 5, locals, body }
}

/** The sums of a block stay in registers, of which there are 16 at least; all others in y. */
function rows(count: (typeof ROW_COUNTS)[number]) {
  const [q, scales, w, y, block, blocks, panels, qStride, scaleStride, yStride] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
  ]
  const [start, scale, b, k, weight, from, to] = [10, 11, 12, 13, 14, 15, 16]
  const each = Array.from({ length: count }, (_, row) => row)
  const at = each.map((row) => 17 + row)
  const first = 17 + count
  const [loaded, factor] = [first, first + 1]
  const x = each.map((row) => first + 2 + row)
  /** Vectors of a panel at a time. */
  const width = count === 4 ? 2 : 4
  const some = VECTORS.slice(0, width)
  const sum = (row: number, v: number): number => first + 2 + count + width * row + v
  const { v128, i32x4, f32x4 } = op
  /** Code for each row, with its y in `to` and its scale in `from`. */
  const eachRow = (code: (row: number) => Code): Code => [
    ...op.get(y),
    ...op.set(to),
    ...op.get(scale),
    ...op.set(from),
    ...each.flatMap((row) => [
      ...code(row),
      ...advance(to, op.get(yStride)),
      ...advance(from, op.get(scaleStride)),
    ]),
  ]
  const pair = (j: number, left: number): Code => [
    ...each.flatMap((row) => [
      ...op.get(at[row] ?? 0),
      ...v128.load32_splat(WORD * j),
      ...op.set(x[row] ?? 0),
    ]),
    ...some.flatMap((v) => [
      ...op.get(weight),
      ...v128.load8x8_s(SCALE_BYTES + PAIR * PANEL * j + 8 * (left + v)),
      ...op.set(loaded),
      ...each.flatMap((row) => [
        ...op.get(loaded),
        ...op.get(x[row] ?? 0),
        ...i32x4.dot_i16x8_s,
        ...op.get(sum(row, v)),
        ...i32x4.add,
        ...op.set(sum(row, v)),
      ]),
    ]),
  ]
  const columns = (left: number): Code => [
    ...each.flatMap((row) => some.flatMap((v) => [...v128.zero, ...op.set(sum(row, v))])),
    ...op.get(w),
    ...op.set(weight),
    ...op.get(start),
    ...at.flatMap((own) => [...op.tee(own), ...op.get(qStride), ...op.i32.add]),
    ...op.drop,
    ...op.get(block),
    ...op.set(k),
    ...op.repeat(
      ...Array.from({ length: UNROLL }, (_, j) => pair(j, left)),
      ...at.map((own) => advance(own, WORD * UNROLL)),
      advance(weight, PAIR * PANEL * UNROLL),
      countDown(k, PAIR * UNROLL),
    ),
    ...eachRow((row) => [
      ...op.get(from),
      ...v128.load32_splat(0),
      ...op.set(factor),
      ...some.flatMap((v) => [
        ...op.get(to),
        ...op.get(sum(row, v)),
        ...f32x4.convert_i32x4_s,
        ...op.get(w),
        ...v128.load(16 * (left + v)),
        ...op.get(factor),
        ...f32x4.mul,
        ...f32x4.mul,
        ...op.get(to),
        ...v128.load(16 * (left + v)),
        ...f32x4.add,
        ...v128.store(16 * (left + v)),
      ]),
    ]),
  ]
  const body = op.repeat(
    eachRow(() =>
      VECTORS.flatMap((v) => [...op.get(to), ...v128.zero, ...v128.store(16 * v)]),
    ),
    op.get(q),
    op.set(start),
    op.get(scales),
    op.set(scale),
    op.get(blocks),
    op.set(b),
    op.repeat(
      ...VECTORS.filter((v) => v % width === 0).map(columns),
      op.get(weight),
      op.i32.const(SCALE_BYTES),
      op.i32.add,
      op.set(w),
      op.get(at[0] ?? 0),
      op.set(start),
      advance(scale, WORD),
      countDown(b),
    ),
    advance(y, 4 * PANEL),
    countDown(panels),
  )
  const locals = [
    ...new Array<number>(7 + count).fill(TYPE.i32),
    ...new Array<number>(2 + count + count * width).fill(TYPE.v128),
  ]
  return { name: `rows${count}`, parameters: 10, locals, body }
}
