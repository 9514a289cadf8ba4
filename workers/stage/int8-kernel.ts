/**
 * Products with int8 matrices, which the runtime can only do by writing the whole matrix out
 * as float32 first: four times the traffic. Here a weight goes from int8 to its product in
 * registers, `sum over blocks of scale * (sum of x * q)`.
 *
 * A matrix `[k, n]` lies in panels of 16 columns. A panel is a row of blocks along k; a block
 * is 16 float32 scales and then `block` rows of 16 int8: a product reads it from front to end.
 */
import { assemble, op, TYPE, type Code } from './wasm-code.ts'

/** Columns of a panel: four vectors of float32. */
export const PANEL = 16
const VECTORS = [0, 1, 2, 3] as const
export const SCALE_BYTES = 4 * PANEL
/** Rows in the body of the inner loop; divides every block size. */
const UNROLL = 4

/** Rows of x, `xStride` bytes from one to the next, and of y. */
type Rows = (
  x: number,
  w: number,
  y: number,
  block: number,
  blocks: number,
  panels: number,
  xStride: number,
  yStride: number,
) => void

/** Addresses are byte offsets into the memory; 4-byte aligned. */
export interface Int8Kernel {
  /** `y[0..16 * panels) = x[0..block * blocks) · w`. */
  row(
    x: number,
    w: number,
    y: number,
    block: number,
    blocks: number,
    panels: number,
  ): void
  /** Each row is what `row` makes of it, bit for bit. */
  readonly rows2: Rows
  readonly rows4: Rows
}

export async function loadInt8Kernel(memory: WebAssembly.Memory): Promise<Int8Kernel> {
  const code = assemble([row(), rows(2, 4), rows(4, 2)])
  const { instance } = await WebAssembly.instantiate(code, { env: { memory } })
  return instance.exports as unknown as Int8Kernel
}

/** Two vectors of float32 for each 8 int8 from `address + offset` on. */
function eights(address: number, offset: number, count: number, half: number): Code[] {
  const { v128, i32x4, f32x4 } = op
  return Array.from({ length: count }, (_, i) => 8 * i).flatMap((skip) => {
    const load = [...op.get(address), ...v128.load8x8_s(offset + skip), ...op.tee(half)]
    return [
      [...load, ...i32x4.extend_low_i16x8_s, ...f32x4.convert_i32x4_s],
      [...op.get(half), ...i32x4.extend_high_i16x8_s, ...f32x4.convert_i32x4_s],
    ]
  })
}

const advance = (local: number, bytes: number): Code => [
  ...op.get(local),
  ...op.i32.const(bytes),
  ...op.i32.add,
  ...op.set(local),
]

const add = (local: number, other: number): Code => [
  ...op.get(local),
  ...op.get(other),
  ...op.i32.add,
  ...op.set(local),
]

/** Subtracts and leaves what is left. */
const countDown = (local: number, by = 1): Code => [
  ...op.get(local),
  ...op.i32.const(by),
  ...op.i32.sub,
  ...op.tee(local),
]

function row() {
  const [x, w, y, block, blocks, panels] = [0, 1, 2, 3, 4, 5]
  const [at, b, k, xk, half] = [6, 7, 8, 9, 10]
  const sums = VECTORS.map((v) => 11 + v)
  const partial = VECTORS.map((v) => 15 + v)
  const { f32x4, v128 } = op
  const clear = (locals: readonly number[]) =>
    locals.flatMap((local) => [...v128.zero, ...op.set(local)])
  const step = (j: number): Code => [
    ...op.get(at),
    ...v128.load32_splat(4 * j),
    ...op.set(xk),
    ...eights(w, PANEL * j, 2, half).flatMap((weights, v) => [
      ...weights,
      ...op.get(xk),
      ...f32x4.mul,
      ...op.get(partial[v] ?? 0),
      ...f32x4.add,
      ...op.set(partial[v] ?? 0),
    ]),
  ]
  const body = op.repeat(
    clear(sums),
    op.get(x),
    op.set(at),
    op.get(blocks),
    op.set(b),
    op.repeat(
      clear(partial),
      op.get(block),
      op.set(k),
      advance(w, SCALE_BYTES),
      op.repeat(
        ...Array.from({ length: UNROLL }, (_, j) => step(j)),
        advance(at, 4 * UNROLL),
        advance(w, PANEL * UNROLL),
        countDown(k, UNROLL),
      ),
      // The scales lie 16 * block bytes and their own length behind.
      VECTORS.flatMap((v) => [
        ...op.get(w),
        ...op.get(block),
        ...op.i32.const(4),
        ...op.i32.shl,
        ...op.i32.sub,
        ...op.i32.const(SCALE_BYTES),
        ...op.i32.sub,
        ...v128.load(16 * v),
        ...op.get(partial[v] ?? 0),
        ...f32x4.mul,
        ...op.get(sums[v] ?? 0),
        ...f32x4.add,
        ...op.set(sums[v] ?? 0),
      ]),
      countDown(b),
    ),
    VECTORS.flatMap((v) => [
      ...op.get(y),
      ...op.get(sums[v] ?? 0),
      ...v128.store(16 * v),
    ]),
    advance(y, 4 * PANEL),
    countDown(panels),
  )
  const locals = [TYPE.i32, TYPE.i32, TYPE.i32, ...new Array<number>(10).fill(TYPE.v128)]
  return { name: 'row', parameters: 6, locals, body }
}

/**
 * Each weight is converted once for all rows. The sums of a block stay in registers, of which
 * there are 16 at the least; those of all blocks in y.
 * @param vectors of a panel at a time.
 */
function rows(count: 2 | 4, vectors: 2 | 4) {
  const [x, w, y, block, blocks, panels, xStride, yStride] = [0, 1, 2, 3, 4, 5, 6, 7]
  const [start, b, k, weight, to] = [8, 9, 10, 11, 12]
  const each = Array.from({ length: count }, (_, i) => i)
  const at = each.map((i) => 13 + i)
  const some = VECTORS.slice(0, vectors)
  const [half, xk, ...rest] = Array.from(
    { length: 2 + vectors + count * vectors },
    (_, i) => 13 + count + i,
  ) as [number, number, ...number[]]
  const weights = rest.slice(0, vectors)
  const partial = (i: number, v: number): number => rest[vectors * (1 + i) + v] ?? 0
  const { f32x4, v128 } = op
  /** For each row, with its y in `to`. */
  const eachTarget = (code: (i: number) => Code): Code => [
    ...op.get(y),
    ...op.set(to),
    ...each.flatMap((i) => [...code(i), ...add(to, yStride)]),
  ]
  const step = (j: number, first: number): Code => [
    ...eights(weight, SCALE_BYTES + PANEL * j + 4 * first, vectors / 2, half).flatMap(
      (four, v) => [...four, ...op.set(weights[v] ?? 0)],
    ),
    ...each.flatMap((i) => [
      ...op.get(at[i] ?? 0),
      ...v128.load32_splat(4 * j),
      ...op.set(xk),
      ...some.flatMap((v) => [
        ...op.get(weights[v] ?? 0),
        ...op.get(xk),
        ...f32x4.mul,
        ...op.get(partial(i, v)),
        ...f32x4.add,
        ...op.set(partial(i, v)),
      ]),
    ]),
  ]
  const columns = (first: number): Code => [
    ...each.flatMap((i) => some.flatMap((v) => [...v128.zero, ...op.set(partial(i, v))])),
    ...op.get(w),
    ...op.set(weight),
    ...op.get(start),
    ...at.flatMap((own) => [...op.tee(own), ...op.get(xStride), ...op.i32.add]),
    ...op.drop,
    ...op.get(block),
    ...op.set(k),
    ...op.repeat(
      ...Array.from({ length: UNROLL }, (_, j) => step(j, first)),
      ...at.map((own) => advance(own, 4 * UNROLL)),
      advance(weight, PANEL * UNROLL),
      countDown(k, UNROLL),
    ),
    ...eachTarget((i) =>
      some.flatMap((v) => {
        const offset = 16 * (first + v)
        return [
          ...op.get(to),
          ...op.get(w),
          ...v128.load(offset),
          ...op.get(partial(i, v)),
          ...f32x4.mul,
          ...op.get(to),
          ...v128.load(offset),
          ...f32x4.add,
          ...v128.store(offset),
        ]
      }),
    ),
  ]
  const body = op.repeat(
    eachTarget(() =>
      VECTORS.flatMap((v) => [...op.get(to), ...v128.zero, ...v128.store(16 * v)]),
    ),
    op.get(x),
    op.set(start),
    op.get(blocks),
    op.set(b),
    op.repeat(
      ...VECTORS.filter((v) => v % vectors === 0).map(columns),
      op.get(weight),
      op.i32.const(SCALE_BYTES),
      op.i32.add,
      op.set(w),
      op.get(at[0] ?? 0),
      op.set(start),
      countDown(b),
    ),
    advance(y, 4 * PANEL),
    countDown(panels),
  )
  const locals = [
    ...new Array<number>(5 + count).fill(TYPE.i32),
    ...new Array<number>(2 + vectors + count * vectors).fill(TYPE.v128),
  ]
  return { name: `rows${count}`, parameters: 8, locals, body }
}
