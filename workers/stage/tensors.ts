/** Tensors as little-endian bytes: sizes, checks, slices along an axis. */
import { evaluate, type Affine, type Dtype } from '../../model-split/manifest.ts'
import { StageError, type TensorData } from './types.ts'

/** Bits of one element. */
const BITS: Readonly<Record<Dtype, number>> = {
  float32: 32,
  float16: 16,
  bfloat16: 16,
  float64: 64,
  int64: 64,
  int32: 32,
  int16: 16,
  int8: 8,
  uint64: 64,
  uint32: 32,
  uint16: 16,
  uint8: 8,
  bool: 8,
  int4: 4,
  uint4: 4,
}

/** How large a run is: batch B, new rows S, rows already in the cache P. */
export interface RunSize {
  readonly batch: number
  readonly rows: number
  readonly past: number
}

export function byteLength(dtype: Dtype, dims: readonly number[]): number {
  return Math.ceil((BITS[dtype] * dims.reduce((product, dim) => product * dim, 1)) / 8)
}

export function dimsFor(
  dims: readonly Affine[],
  { batch, rows, past }: RunSize,
): number[] {
  return dims.map((dim) => evaluate(dim, batch, rows, past))
}

/** How many times the elements along an axis stand in a tensor: the product of what is before. */
export function outerOf(dims: readonly number[], axis: number): number {
  return dims.slice(0, axis).reduce((product, dim) => product * dim, 1)
}

/** The one axis whose length is the number of new rows, or null. */
export function rowAxis(dims: readonly Affine[]): number | null {
  const axes = dims.flatMap(([c, b, s, p], axis) =>
    s === 1 && c === 0 && b === 0 && p === 0 ? [axis] : [],
  )
  const others = dims.filter(([, , s, p]) => s !== 0 || p !== 0).length
  return axes.length === 1 && others === 1 ? (axes[0] ?? null) : null
}

/** Elements `[from, to)` along an axis, copied. */
export function slice(
  tensor: TensorData,
  axis: number,
  from: number,
  to: number,
): TensorData {
  const { dtype, dims, bytes } = tensor
  const length = dims[axis] ?? 0
  if (from === 0 && to === length) return tensor
  const inner = byteLength(dtype, dims.slice(axis + 1))
  const outer = outerOf(dims, axis)
  const part = (to - from) * inner
  const result = new Uint8Array(outer * part)
  for (let i = 0; i < outer; i++) {
    const start = (i * length + from) * inner
    result.set(bytes.subarray(start, start + part), i * part)
  }
  return { dtype, dims: dims.with(axis, to - from), bytes: result }
}

/** Tensors of equal shape but for one axis, one after another along it. */
export function join(parts: readonly TensorData[], axis: number): TensorData {
  const [first] = parts
  if (!first) throw new StageError('internal', 'No tensors to join.')
  const { dtype, dims } = first
  const outer = outerOf(dims, axis)
  const bytes = new Uint8Array(
    parts.reduce((sum, part) => sum + part.bytes.byteLength, 0),
  )
  let at = 0
  for (let i = 0; i < outer; i++)
    for (const part of parts) {
      const length = part.bytes.byteLength / outer
      bytes.set(part.bytes.subarray(i * length, (i + 1) * length), at)
      at += length
    }
  const total = parts.reduce((sum, part) => sum + (part.dims[axis] ?? 0), 0)
  return { dtype, dims: dims.with(axis, total), bytes }
}

/**
 * Checks what another device sent before the runtime sees it.
 * @throws StageError `bad-input`
 */
export function checkTensor(
  name: string,
  tensor: TensorData | undefined,
  dtype: Dtype,
  dims: readonly number[],
): TensorData {
  const say = (what: string) =>
    new StageError('bad-input', `The hidden states "${name}" ${what}; ask again.`)
  if (!tensor) throw say('are missing')
  if (tensor.dtype !== dtype) throw say(`came as ${tensor.dtype} instead of ${dtype}`)
  const same =
    tensor.dims.length === dims.length && dims.every((dim, i) => tensor.dims[i] === dim)
  if (!same)
    throw say(`came in shape [${tensor.dims.join()}] instead of [${dims.join()}]`)
  if (tensor.bytes.byteLength !== byteLength(dtype, dims))
    throw say('came with missing bytes')
  return tensor
}

/** Values of a floating-point tensor as doubles. */
export function toNumbers({ dtype, bytes }: TensorData): Float32Array | Float64Array {
  const aligned = bytes.slice().buffer
  switch (dtype) {
    case 'float32':
      return new Float32Array(aligned)
    case 'float64':
      return new Float64Array(aligned)
    case 'float16':
      return Float32Array.from(new Uint16Array(aligned), fromHalf)
    case 'bfloat16':
      return new Float32Array(
        Uint32Array.from(new Uint16Array(aligned), (x) => x << 16).buffer,
      )
    default:
      throw new StageError('internal', `A ${dtype} tensor holds no hidden states.`)
  }
}

/** IEEE 754 binary16. */
function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
