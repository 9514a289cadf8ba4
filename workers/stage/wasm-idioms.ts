/** What kernels write again and again, in the instructions of wasm-code.ts. */
import { op, type Code } from './wasm-code.ts'

const LANES = [0, 1, 2, 3] as const

/** Adds bytes to an address, or whatever the code leaves. */
export const advance = (local: number, by: number | Code): Code => [
  ...op.get(local),
  ...(typeof by === 'number' ? op.i32.const(by) : by),
  ...op.i32.add,
  ...op.set(local),
]

/** Subtracts and leaves what is left. */
export const countDown = (local: number, by = 1): Code => [
  ...op.get(local),
  ...op.i32.const(by),
  ...op.i32.sub,
  ...op.tee(local),
]

/** The same float32 in all lanes. */
export const splat = (value: number): Code =>
  op.v128.const(new Float32Array(4).fill(value))

/** Lanes of two vectors: 0 to 3 of the first, 4 to 7 of the second. */
export const lanes = (...which: readonly number[]): Code =>
  op.i8x16.shuffle(which.flatMap((lane) => LANES.map((byte) => 4 * lane + byte)))

/** Each lane gets what `combine` makes of all four. */
export const fold = (local: number, combine: Code): Code =>
  [lanes(2, 3, 0, 1), lanes(1, 0, 3, 2)].flatMap((other) => [
    ...op.get(local),
    ...op.get(local),
    ...op.get(local),
    ...other,
    ...combine,
    ...op.set(local),
  ])
