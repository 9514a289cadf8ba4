/** Assembles small WebAssembly modules. Numbers: WebAssembly core specification, chapter 5. */
import { concat, varint } from '../../model-split/link/wire.ts'

export type Code = readonly number[]
type Operand = number | Code

const flat = (operands: readonly Operand[]): number[] => operands.flat()
const unsigned = (value: number): number[] => [...varint(value)]
const simd = (opcode: number): number[] => [0xfd, ...unsigned(opcode)]
const memory = (opcode: Code, align: number, offset: number): Code => [
  ...opcode,
  align,
  ...unsigned(offset),
]

export const TYPE = { i32: 0x7f, v128: 0x7b } as const

/** Instructions by their names in the text format; `align` is the power of two. */
export const op = {
  get: (local: number): Code => [0x20, ...unsigned(local)],
  set: (local: number): Code => [0x21, ...unsigned(local)],
  tee: (local: number): Code => [0x22, ...unsigned(local)],
  drop: [0x1a] as Code,
  i32: {
    const: (value: number): Code => [0x41, ...signed(value)],
    add: [0x6a] as Code,
    sub: [0x6b] as Code,
    shl: [0x74] as Code,
    shr_u: [0x76] as Code,
  },
  /** Runs the body, and again while the value that it leaves is not 0. */
  repeat: (...body: Operand[]): Code => [0x03, 0x40, ...flat(body), 0x0d, 0, 0x0b],
  v128: {
    load: (offset: number): Code => memory(simd(0x00), 4, offset),
    load8x8_s: (offset: number): Code => memory(simd(0x01), 3, offset),
    load32_splat: (offset: number): Code => memory(simd(0x09), 2, offset),
    store: (offset: number): Code => memory(simd(0x0b), 4, offset),
    /** The first lane. */
    store32_lane: (offset: number): Code => [...memory(simd(0x5a), 2, offset), 0],
    zero: [...simd(0x0c), ...new Array<number>(16).fill(0)] as Code,
    const: (values: Float32Array | Int32Array): Code => [
      ...simd(0x0c),
      ...new Uint8Array(values.buffer, values.byteOffset, 16),
    ],
  },
  i8x16: {
    shuffle: (lanes: readonly number[]): Code => [...simd(0x0d), ...lanes],
  },
  i16x8: {
    narrow_i32x4_s: simd(0x85) as Code,
  },
  i32x4: {
    shl: simd(0xab) as Code,
    add: simd(0xae) as Code,
    dot_i16x8_s: simd(0xba) as Code,
    trunc_sat_f32x4_s: simd(0xf8) as Code,
  },
  f32x4: {
    nearest: simd(0x6a) as Code,
    abs: simd(0xe0) as Code,
    add: simd(0xe4) as Code,
    sub: simd(0xe5) as Code,
    mul: simd(0xe6) as Code,
    div: simd(0xe7) as Code,
    max: simd(0xe9) as Code,
    convert_i32x4_s: simd(0xfa) as Code,
  },
} as const

export interface Function {
  readonly name: string
  /** How many, all i32. */
  readonly parameters: number
  /** Types of the locals behind them. */
  readonly locals: readonly number[]
  readonly body: Code
}

/** Functions without results over an imported shared memory, `env.memory`. */
export function assemble(functions: readonly Function[]): Uint8Array<ArrayBuffer> {
  const vector = (items: readonly Uint8Array[]) =>
    concat([varint(items.length), ...items])
  const bytes = (...parts: Operand[]) => Uint8Array.from(flat(parts))
  const name = (text: string) => {
    const ascii = Uint8Array.from(text, (letter) => letter.charCodeAt(0))
    return concat([varint(ascii.length), ascii])
  }
  const section = (id: number, content: Uint8Array) =>
    concat([bytes(id), varint(content.length), content])
  const types = functions.map(({ parameters }) =>
    bytes(0x60, unsigned(parameters), new Array<number>(parameters).fill(TYPE.i32), 0),
  )
  const SHARED = 3
  const imported = concat([
    name('env'),
    name('memory'),
    bytes(2, SHARED, 0, unsigned(65536)),
  ])
  const exported = functions.map((one, i) =>
    concat([name(one.name), bytes(0, unsigned(i))]),
  )
  const bodies = functions.map(({ locals, body }) => {
    const declared = vector(locals.map((type) => bytes(1, type)))
    const code = concat([declared, bytes(body, 0x0b)])
    return concat([varint(code.length), code])
  })
  return concat([
    bytes([0x00, 0x61, 0x73, 0x6d], [1, 0, 0, 0]),
    section(1, vector(types)),
    section(2, vector([imported])),
    section(3, vector(functions.map((_, i) => varint(i)))),
    section(7, vector(exported)),
    section(10, vector(bodies)),
  ])
}

function signed(value: number): number[] {
  const bytes: number[] = []
  for (let rest = value; ; rest >>= 7) {
    const low = rest & 0x7f
    const done = rest >> 7 === (low & 0x40 ? -1 : 0)
    bytes.push(done ? low : low | 0x80)
    if (done) return bytes
  }
}
