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
  /** Writes a panel out as float32 `[block * blocks, 16]`. */
  expand(w: number, tile: number, block: number, blocks: number): void
  /** `y[0..16) = x[0..k) · tile`. */
  one(x: number, tile: number, y: number, k: number): void
  /** Two rows of x at once. */
  two(x: number, x2: number, tile: number, y: number, y2: number, k: number): void
}

export async function loadInt8Kernel(memory: WebAssembly.Memory): Promise<Int8Kernel> {
  const code = assemble([row(), expand(), multiply(1), multiply(2)])
  const { instance } = await WebAssembly.instantiate(code, { env: { memory } })
  return instance.exports as unknown as Int8Kernel
}

/** Four vectors of float32 from 16 int8 at `address + offset`. */
function quad(address: number, offset: number, half: number): Code[] {
  const { v128, i32x4, f32x4 } = op
  return [0, 8].flatMap((skip) => {
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
    ...quad(w, PANEL * j, half).flatMap((weights, v) => [
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

function expand() {
  const [w, tile, block, blocks] = [0, 1, 2, 3]
  const [k, half] = [4, 5]
  const scales = VECTORS.map((v) => 6 + v)
  const { v128 } = op
  const body = op.repeat(
    VECTORS.flatMap((v) => [
      ...op.get(w),
      ...v128.load(16 * v),
      ...op.set(scales[v] ?? 0),
    ]),
    advance(w, SCALE_BYTES),
    op.get(block),
    op.set(k),
    op.repeat(
      ...quadStores(w, tile, half, scales),
      advance(w, PANEL),
      advance(tile, 4 * PANEL),
      countDown(k),
    ),
    countDown(blocks),
  )
  const locals = [TYPE.i32, ...new Array<number>(5).fill(TYPE.v128)]
  return { name: 'expand', parameters: 4, locals, body }
}

function quadStores(w: number, tile: number, half: number, scales: readonly number[]) {
  const [first, second, third, fourth] = quad(w, 0, half)
  return [first, second, third, fourth].map((weights = [], v): Code => [
    ...op.get(tile),
    ...weights,
    ...op.get(scales[v] ?? 0),
    ...op.f32x4.mul,
    ...op.v128.store(16 * v),
  ])
}

/** Rows of x with a tile of float32. */
function multiply(rows: 1 | 2) {
  const xs = rows === 1 ? [0] : [0, 1]
  const tile = rows
  const ys = xs.map((x) => rows + 1 + x)
  const k = 2 * rows + 1
  const first = k + 1
  const [xk, ...rest] = Array.from({ length: 5 + 4 * rows }, (_, i) => first + i)
  const weights = rest.slice(0, 4)
  const sums = rest.slice(4)
  const { f32x4, v128 } = op
  const step = (j: number): Code => [
    ...VECTORS.flatMap((v) => [
      ...op.get(tile),
      ...v128.load(4 * PANEL * j + 16 * v),
      ...op.set(weights[v] ?? 0),
    ]),
    ...xs.flatMap((x) => [
      ...op.get(x),
      ...v128.load32_splat(4 * j),
      ...op.set(xk ?? 0),
      ...VECTORS.flatMap((v) => {
        const sum = sums[4 * x + v] ?? 0
        return [
          ...op.get(xk ?? 0),
          ...op.get(weights[v] ?? 0),
          ...f32x4.mul,
          ...op.get(sum),
          ...f32x4.add,
          ...op.set(sum),
        ]
      }),
    ]),
  ]
  const body = [
    ...op.repeat(
      ...Array.from({ length: UNROLL }, (_, j) => step(j)),
      advance(tile, 4 * PANEL * UNROLL),
      ...xs.map((x) => advance(x, 4 * UNROLL)),
      countDown(k, UNROLL),
    ),
    ...ys.flatMap((y, x) =>
      VECTORS.flatMap((v) => [
        ...op.get(y),
        ...op.get(sums[4 * x + v] ?? 0),
        ...v128.store(16 * v),
      ]),
    ),
  ]
  const locals = new Array<number>(5 + 4 * rows).fill(TYPE.v128)
  return { name: rows === 1 ? 'one' : 'two', parameters: k + 1, locals, body }
}
