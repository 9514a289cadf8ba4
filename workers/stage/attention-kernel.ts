/**
 * Attention of one row and head over keys and values as they lie in the caches. The runtime's
 * takes several times as long: with 30 layers 14 to 40 ms a row at 128 to 500 rows of context,
 * more than all matrices together.
 */
import { assemble, op, TYPE, type Code } from './wasm-code.ts'
import { advance, countDown, fold, lanes, splat } from './wasm-idioms.ts'

/** Values of a key that are looked at together; divides every head. */
export const ATTENDED = 16
/** Bytes behind the scores that are written to. */
export const SLACK_BYTES = 16
const LANES = [0, 1, 2, 3] as const
const VECTOR = 16

/** Addresses are byte offsets into the memory; 4-byte aligned. */
export interface AttentionKernel {
  /**
   * `out = softmax(q · kᵀ) · v` over `count` rows of k and v, one behind another.
   * @param q scaled.
   * @param scores room for `count` float32, rounded up to four, and the slack.
   * @param width bytes of a row.
   */
  attend(
    q: number,
    k: number,
    v: number,
    out: number,
    scores: number,
    width: number,
    count: number,
  ): void
}

export async function loadAttentionKernel(
  memory: WebAssembly.Memory,
): Promise<AttentionKernel> {
  const code = assemble([attend()])
  const { instance } = await WebAssembly.instantiate(code, { env: { memory } })
  return instance.exports as unknown as AttentionKernel
}

const { f32x4, i32x4, v128 } = op

/** `sum += x * the vector at address + offset` */
const accumulate = (address: number, offset: number, x: number, sum: number): Code => [
  ...op.get(address),
  ...v128.load(offset),
  ...op.get(x),
  ...f32x4.mul,
  ...op.get(sum),
  ...f32x4.add,
  ...op.set(sum),
]

/** Below this the exponential function is 0 in float32, or nearly. */
const LEAST = -87
/** Cody and Waite's split of ln 2, and the polynomial of the Cephes library's `expf`. */
const LN2 = [0.693359375, -2.1219444e-4] as const
const POLYNOMIAL = [
  1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
  5.0000001201e-1,
] as const

/** `x = e ^ x` in every lane, for x of at most 0; relative error 2^-23. */
function exponential(x: number, n: number): Code {
  return [
    ...op.get(x),
    ...splat(LEAST),
    ...f32x4.max,
    ...op.tee(x),
    ...splat(Math.LOG2E),
    ...f32x4.mul,
    ...f32x4.nearest,
    ...op.set(n),
    ...LN2.flatMap((part) => [
      ...op.get(x),
      ...op.get(n),
      ...splat(part),
      ...f32x4.mul,
      ...f32x4.sub,
      ...op.set(x),
    ]),
    ...splat(POLYNOMIAL[0]),
    ...POLYNOMIAL.slice(1).flatMap((coefficient) => [
      ...op.get(x),
      ...f32x4.mul,
      ...splat(coefficient),
      ...f32x4.add,
    ]),
    ...op.get(x),
    ...f32x4.mul,
    ...op.get(x),
    ...f32x4.mul,
    ...op.get(x),
    ...f32x4.add,
    ...splat(1),
    ...f32x4.add,
    // Two to the n, by its exponent.
    ...op.get(n),
    ...i32x4.trunc_sat_f32x4_s,
    ...v128.const(new Int32Array(4).fill(127)),
    ...i32x4.add,
    ...op.i32.const(23),
    ...i32x4.shl,
    ...f32x4.mul,
    ...op.set(x),
  ]
}

function attend() {
  const [q, k, v, out, scores, width, count] = [0, 1, 2, 3, 4, 5, 6]
  const [quads, left, at, i, from] = [7, 8, 9, 10, 11]
  const keys = LANES.map((lane) => 12 + lane)
  const sums = LANES.map((lane) => 16 + lane) as [number, number, number, number]
  const [x, most, total, n] = [20, 21, 22, 23]
  const clear = sums.flatMap((local) => [...v128.zero, ...op.set(local)])
  const eachQuad = (...body: Code[]): Code => [
    ...op.get(scores),
    ...op.set(at),
    ...op.get(quads),
    ...op.set(left),
    ...op.repeat(body.flat(), advance(at, VECTOR), countDown(left)),
  ]
  /** Four keys at once. */
  const score: Code = [
    ...clear,
    ...op.get(k),
    ...keys.flatMap((key) => [...op.tee(key), ...op.get(width), ...op.i32.add]),
    ...op.set(k),
    ...op.get(q),
    ...op.set(from),
    ...op.get(width),
    ...op.set(i),
    ...op.repeat(
      ...[0, 1, 2, 3].flatMap((part): Code[] => [
        [...op.get(from), ...v128.load(VECTOR * part), ...op.set(x)],
        LANES.flatMap((lane) =>
          accumulate(keys[lane] ?? 0, VECTOR * part, x, sums[lane]),
        ),
      ]),
      ...[from, ...keys].map((local) => advance(local, 4 * ATTENDED)),
      countDown(i, 4 * ATTENDED),
    ),
    ...op.get(at),
    // Sums of lanes 0 and 2, and of 1 and 3, of two keys; then of all lanes of four keys.
    ...[sums.slice(0, 2), sums.slice(2)].flatMap(([a = 0, b = 0]) => [
      ...op.get(a),
      ...op.get(b),
      ...lanes(0, 4, 1, 5),
      ...op.get(a),
      ...op.get(b),
      ...lanes(2, 6, 3, 7),
      ...f32x4.add,
      ...op.set(a),
    ]),
    ...op.get(sums[0]),
    ...op.get(sums[2]),
    ...lanes(0, 1, 4, 5),
    ...op.get(sums[0]),
    ...op.get(sums[2]),
    ...lanes(2, 3, 6, 7),
    ...f32x4.add,
    ...v128.store(0),
  ]
  /** Some values of the sum of all rows of v. */
  const values: Code = [
    ...clear,
    ...op.get(v),
    ...op.set(from),
    ...op.get(scores),
    ...op.set(at),
    ...op.get(count),
    ...op.set(left),
    ...op.repeat(
      op.get(at),
      v128.load32_splat(0),
      op.set(x),
      LANES.flatMap((part) => accumulate(from, VECTOR * part, x, sums[part])),
      advance(from, op.get(width)),
      advance(at, 4),
      countDown(left),
    ),
    ...LANES.flatMap((part) => [
      ...op.get(out),
      ...op.get(sums[part]),
      ...op.get(total),
      ...f32x4.div,
      ...v128.store(VECTOR * part),
    ]),
  ]
  const body = [
    ...op.get(count),
    ...op.i32.const(3),
    ...op.i32.add,
    ...op.i32.const(2),
    ...op.i32.shr_u,
    ...op.set(quads),
    ...eachQuad(score),
    // What was computed beyond the last row does not count.
    ...op.get(scores),
    ...op.get(count),
    ...op.i32.const(2),
    ...op.i32.shl,
    ...op.i32.add,
    ...splat(-Infinity),
    ...v128.store(0),
    ...splat(-Infinity),
    ...op.set(most),
    ...eachQuad(op.get(most), op.get(at), v128.load(0), f32x4.max, op.set(most)),
    ...fold(most, f32x4.max),
    ...v128.zero,
    ...op.set(total),
    ...eachQuad(
      [...op.get(at), ...v128.load(0), ...op.get(most), ...f32x4.sub, ...op.set(x)],
      exponential(x, n),
      [...op.get(at), ...op.get(x), ...v128.store(0)],
      [...op.get(total), ...op.get(x), ...f32x4.add, ...op.set(total)],
    ),
    ...fold(total, f32x4.add),
    ...op.get(width),
    ...op.set(i),
    ...op.repeat(
      values,
      advance(v, 4 * ATTENDED),
      advance(out, 4 * ATTENDED),
      countDown(i, 4 * ATTENDED),
    ),
  ]
  const locals = [
    ...new Array<number>(9).fill(TYPE.i32),
    ...new Array<number>(8).fill(TYPE.v128),
  ]
  return { name: 'attend', parameters: 7, locals, body }
}
