/**
 * Writes protobuf wire format, and the few ONNX messages that a linked model adds. Pure, so
 * that the linker runs in the browser. Field numbers: onnx.proto of ONNX 1.19.
 */
import type { Dtype } from '../manifest.ts'

type Bytes = Uint8Array<ArrayBuffer>
// Every JavaScript host has it, but no TypeScript lib without the DOM declares it.
declare const TextEncoder: new () => { encode(text: string): Uint8Array<ArrayBuffer> }
const encoder = new TextEncoder()

/** TensorProto.DataType of each element type. */
export const DATA_TYPE: Readonly<Record<Dtype, number>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
  uint4: 21,
  int4: 22,
}

export function concat(parts: readonly Uint8Array[]): Bytes {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** Base-128 varint; negative values take ten bytes (two's complement of 64 bits). */
export function varint(value: number | bigint): Bytes {
  if (typeof value === 'number' && !Number.isSafeInteger(value))
    throw new RangeError(`${value} is not an integer that a varint can hold exactly.`)
  let rest = BigInt.asUintN(64, BigInt(value))
  const bytes: number[] = []
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80)
    rest >>= 7n
  }
  bytes.push(Number(rest))
  return Uint8Array.from(bytes)
}

/** Wire types: 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes. */
export type WireType = 0 | 1 | 2 | 5

export function tag(field: number, wire: WireType): Bytes {
  return varint(field * 8 + wire)
}

export function varintField(field: number, value: number | bigint): Bytes {
  return concat([tag(field, 0), varint(value)])
}

export function floatField(field: number, value: number): Bytes {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setFloat32(0, value, true)
  return concat([tag(field, 5), bytes])
}

/** A length-delimited field: a message, raw bytes or (as UTF-8) text. */
export function bytesField(field: number, value: Uint8Array | string): Bytes {
  const bytes = typeof value === 'string' ? encoder.encode(value) : value
  return concat([tag(field, 2), varint(bytes.length), bytes])
}

/** A value that a node attribute may take; bare numbers would be ambiguous. */
export type AttributeValue =
  | { readonly int: number | bigint }
  | { readonly float: number }
  | { readonly string: string }
  | { readonly ints: readonly (number | bigint)[] }
  | { readonly floats: readonly number[] }
  | { readonly strings: readonly string[] }
  /** A serialized TensorProto. */
  | { readonly tensor: Uint8Array }
  /** A serialized GraphProto. */
  | { readonly graph: Uint8Array }

/** A serialized AttributeProto. */
export function attributeProto(name: string, value: AttributeValue): Bytes {
  return concat([bytesField(1, name), ...attributeValue(value)])
}

function attributeValue(value: AttributeValue): Bytes[] {
  const type = (code: number): Bytes => varintField(20, code)
  if ('float' in value) return [floatField(2, value.float), type(1)]
  if ('int' in value) return [varintField(3, value.int), type(2)]
  if ('string' in value) return [bytesField(4, value.string), type(3)]
  if ('tensor' in value) return [bytesField(5, value.tensor), type(4)]
  if ('graph' in value) return [bytesField(6, value.graph), type(5)]
  if ('floats' in value) return [...value.floats.map((f) => floatField(7, f)), type(6)]
  if ('ints' in value) return [...value.ints.map((i) => varintField(8, i)), type(7)]
  return [...value.strings.map((s) => bytesField(9, s)), type(8)]
}

export interface NodeParts {
  readonly opType: string
  readonly domain?: string
  readonly name?: string
  /** '' leaves an optional input out. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes?: Readonly<Record<string, AttributeValue>>
}

/** A serialized NodeProto. */
export function nodeProto(node: NodeParts): Bytes {
  const attributes = Object.entries(node.attributes ?? {})
  return concat([
    ...node.inputs.map((name) => bytesField(1, name)),
    ...node.outputs.map((name) => bytesField(2, name)),
    ...(node.name ? [bytesField(3, node.name)] : []),
    bytesField(4, node.opType),
    ...attributes.map(([name, value]) => bytesField(5, attributeProto(name, value))),
    ...(node.domain ? [bytesField(7, node.domain)] : []),
  ])
}

interface TensorHead {
  readonly name: string
  readonly dtype: Dtype
  readonly dims: readonly number[]
}

function tensorHead({ name, dtype, dims }: TensorHead): Bytes[] {
  return [
    ...dims.map((dim) => varintField(1, dim)),
    varintField(2, DATA_TYPE[dtype]),
    bytesField(8, name),
  ]
}

/** A serialized TensorProto with its elements, raw and little-endian. */
export function tensorProto(tensor: TensorHead & { readonly raw: Uint8Array }): Bytes {
  return concat([...tensorHead(tensor), bytesField(9, tensor.raw)])
}

/** A serialized TensorProto whose elements lie in external data. */
export function externalTensorProto(
  tensor: TensorHead & {
    readonly location: string
    readonly offset: number
    readonly length: number
  },
): Bytes {
  const entry = (key: string, value: string | number): Bytes =>
    bytesField(13, concat([bytesField(1, key), bytesField(2, String(value))]))
  return concat([
    ...tensorHead(tensor),
    entry('location', tensor.location),
    entry('offset', tensor.offset),
    entry('length', tensor.length),
    varintField(14, 1),
  ])
}

/**
 * A serialized ValueInfoProto of a tensor. A string names a symbolic axis, null leaves an
 * axis open; null for the dims leaves the whole shape open.
 */
export function valueInfoProto(
  name: string,
  dtype: Dtype,
  dims: readonly (number | string | null)[] | null,
): Bytes {
  const axis = (dim: number | string | null): Uint8Array => {
    if (dim === null) return new Uint8Array(0)
    return typeof dim === 'number' ? varintField(1, dim) : bytesField(2, dim)
  }
  const shape = dims && bytesField(2, concat(dims.map((dim) => bytesField(1, axis(dim)))))
  const tensor = concat([varintField(1, DATA_TYPE[dtype]), ...(shape ? [shape] : [])])
  return concat([bytesField(1, name), bytesField(2, bytesField(1, tensor))])
}

const GRAPH_FIELD = { node: 1, initializer: 5, input: 11, output: 12, valueInfo: 13 }

/** One field of a GraphProto; a graph piece is a concatenation of such fields. */
export function graphField(kind: keyof typeof GRAPH_FIELD, message: Uint8Array): Bytes {
  return bytesField(GRAPH_FIELD[kind], message)
}

/** A ModelProto from its header fields and the concatenated fields of its graph. */
export function modelProto(header: Uint8Array, graph: Uint8Array): Bytes {
  const named = concat([bytesField(2, 'choir'), graph])
  return concat([header, bytesField(7, named)])
}
