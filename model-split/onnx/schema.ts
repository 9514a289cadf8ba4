/**
 * Field numbers of the ONNX messages that are read, from onnx.proto of ONNX 1.19
 * (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
 */
import { DTYPES, type Dtype } from '../manifest.ts'
import { DATA_TYPE } from '../link/wire.ts'

export const MODEL = { irVersion: 1, graph: 7, opsetImport: 8, functions: 25 } as const

export const OPSET = { domain: 1, version: 2 } as const

export const GRAPH = {
  node: 1,
  name: 2,
  initializer: 5,
  input: 11,
  output: 12,
  valueInfo: 13,
  sparseInitializer: 15,
} as const

export const NODE = {
  input: 1,
  output: 2,
  name: 3,
  opType: 4,
  attribute: 5,
  domain: 7,
} as const

export const ATTRIBUTE = {
  name: 1,
  f: 2,
  i: 3,
  s: 4,
  t: 5,
  g: 6,
  floats: 7,
  ints: 8,
  strings: 9,
  graphs: 11,
  type: 20,
} as const

/** AttributeProto.AttributeType */
export const ATTRIBUTE_TYPE = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  graphs: 10,
} as const

export const TENSOR = {
  dims: 1,
  dataType: 2,
  floatData: 4,
  int32Data: 5,
  stringData: 6,
  int64Data: 7,
  name: 8,
  rawData: 9,
  doubleData: 10,
  uint64Data: 11,
  externalData: 13,
  dataLocation: 14,
} as const

export const ENTRY = { key: 1, value: 2 } as const

export const VALUE_INFO = { name: 1, type: 2 } as const
export const TYPE = { tensorType: 1 } as const
export const TENSOR_TYPE = { elemType: 1, shape: 2 } as const
export const SHAPE = { dim: 1 } as const
export const DIMENSION = { value: 1, param: 2 } as const

const byCode = new Map<number, Dtype>(DTYPES.map((dtype) => [DATA_TYPE[dtype], dtype]))

/** The element type of a TensorProto.DataType, or null if Choir cannot read it. */
export function dtypeOf(code: number): Dtype | null {
  return byCode.get(code) ?? null
}

const BITS: Readonly<Record<Dtype, number>> = {
  float64: 64,
  int64: 64,
  uint64: 64,
  float32: 32,
  int32: 32,
  uint32: 32,
  float16: 16,
  bfloat16: 16,
  int16: 16,
  uint16: 16,
  int8: 8,
  uint8: 8,
  bool: 8,
  int4: 4,
  uint4: 4,
}

/** Bytes of `count` elements in raw form; int4 and uint4 are two to a byte. */
export function byteLength(dtype: Dtype, count: number): number {
  return Math.ceil((count * BITS[dtype]) / 8)
}

/** Bits of one element. */
export function bitsOf(dtype: Dtype): number {
  return BITS[dtype]
}

/** Number of elements of a shape; throws RangeError where no number can hold it. */
export function elements(dims: readonly number[]): number {
  const count = dims.reduce((product, dim) => product * dim, 1)
  const sound = dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0)
  if (!sound || !Number.isSafeInteger(count * 8))
    throw new RangeError(`[${dims.join(', ')}] is not a shape.`)
  return count
}
