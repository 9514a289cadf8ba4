/** Reads TensorProtos: small ones into memory, of large ones only where they lie. */
import { Reader } from 'protobufjs/minimal.js'
import type { Dtype } from '../manifest.ts'
import type { ModelSource } from '../source/source.ts'
import { ModelError } from './error.ts'
import type { ExternalFiles } from './external.ts'
import { integer, integers, payload } from './fields.ts'
import type { Extent, Field, MessageFile } from './fields.ts'
import { ENTRY, TENSOR, bitsOf, byteLength, dtypeOf, elements } from './schema.ts'
import type { OnnxTensor, TensorData } from './types.ts'

/** Tensors up to this many bytes are kept in memory and may stay inside nodes. */
export const SMALL = 1024
/** Elements kept as varints have to be decoded in memory; more than this is refused. */
const LARGEST_DECODED = 256 * 2 ** 20
/** No runtime knows shapes of more axes. */
const MOST_AXES = 64

/** Elements as the message has them: packed, or one by one. */
interface Typed {
  readonly field: number
  readonly extents: Extent[]
  readonly single: (number | bigint)[]
}

interface Raw {
  name: string
  dims: number[]
  code: number
  raw: Extent | null
  typed: Typed | null
  external: boolean
  readonly entries: Map<string, string>
}

/**
 * Reads a TensorProto.
 * @param fallback name for a tensor that has none
 * @param unknown what to do where Choir cannot read the element type: `skip` returns null
 */
export async function readTensorProto(
  file: MessageFile,
  external: ExternalFiles,
  extent: Extent,
  fallback: string,
  unknown: 'refuse' | 'skip',
): Promise<OnnxTensor | null> {
  const raw = await fieldsOf(file, extent)
  const name = raw.name || fallback
  const dtype = dtypeOf(raw.code)
  if (!dtype && unknown === 'skip') return null
  if (!dtype)
    throw new ModelError(
      `Tensor "${name}" in ${file.path} has elements of ONNX type ${raw.code}, which Choir cannot read; export the model with another precision.`,
    )
  const bytes = expected(name, dtype, raw.dims)
  const data = raw.external
    ? await external.locate(name, raw.entries, bytes)
    : await embedded(file, name, dtype, bytes, raw)
  return { name, dtype, dims: raw.dims, bytes, data }
}

/** The elements of a tensor, raw and little-endian. */
export async function readTensor(
  source: ModelSource,
  tensor: OnnxTensor,
): Promise<Uint8Array> {
  return readTensorPart(source, tensor, 0, tensor.bytes)
}

/** `length` bytes of a tensor's elements from `offset`. */
export async function readTensorPart(
  source: ModelSource,
  { data }: OnnxTensor,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  if (data.kind === 'inline') return data.bytes.subarray(offset, offset + length)
  return source.read(data.file, data.offset + offset, length)
}

async function fieldsOf(file: MessageFile, extent: Extent): Promise<Raw> {
  const found: Raw = {
    name: '',
    dims: [],
    code: 0,
    raw: null,
    typed: null,
    external: false,
    entries: new Map(),
  }
  await file.each(extent, (field) => {
    switch (field.number) {
      case TENSOR.dims:
        return integers(file, field, MOST_AXES).then((dims) => {
          found.dims.push(...dims.map(Number))
          if (found.dims.length > MOST_AXES) throw file.malformed(field.whole.start)
        })
      case TENSOR.dataType:
        found.code = integer(file, field)
        return
      case TENSOR.name:
        return file.text(payload(file, field)).then((name) => {
          found.name = name
        })
      case TENSOR.rawData:
        found.raw = payload(file, field)
        return
      case TENSOR.floatData:
      case TENSOR.doubleData:
      case TENSOR.int32Data:
      case TENSOR.int64Data:
      case TENSOR.uint64Data:
        found.typed = collect(found.typed, field)
        return
      case TENSOR.externalData:
        return entry(file, payload(file, field), found.entries)
      case TENSOR.dataLocation:
        found.external = integer(file, field) === 1
        return
      default:
        return
    }
  })
  return found
}

function collect(typed: Typed | null, field: Field): Typed {
  const all =
    typed?.field === field.number
      ? typed
      : { field: field.number, extents: [], single: [] }
  if (field.wire === 'bytes') all.extents.push(field.payload)
  else all.single.push(field.value)
  return all
}

async function entry(
  file: MessageFile,
  extent: Extent,
  entries: Map<string, string>,
): Promise<void> {
  let key = ''
  let value = ''
  await file.each(extent, (field) => {
    if (field.number !== ENTRY.key && field.number !== ENTRY.value) return
    return file.text(payload(file, field)).then((text) => {
      if (field.number === ENTRY.key) key = text
      else value = text
    })
  })
  entries.set(key, value)
}

function expected(name: string, dtype: Dtype, dims: readonly number[]): number {
  try {
    return byteLength(dtype, elements(dims))
  } catch {
    throw new ModelError(
      `Tensor "${name}" has the impossible shape [${dims.join(', ')}]; export the model again.`,
    )
  }
}

async function embedded(
  file: MessageFile,
  name: string,
  dtype: Dtype,
  bytes: number,
  { raw, typed, dims }: Raw,
): Promise<TensorData> {
  const wrong = (length: number): ModelError =>
    new ModelError(
      `Tensor "${name}" in ${file.path} has ${length} bytes of data, but its shape [${dims.join(', ')}] of ${dtype} needs ${bytes}; export the model again.`,
    )
  const direct = raw ?? fixedExtent(typed, dtype)
  if (direct) {
    const length = direct.end - direct.start
    if (length !== bytes) throw wrong(length)
    if (length > SMALL)
      return { kind: 'file', file: file.path, offset: direct.start, length }
    return { kind: 'inline', bytes: await file.bytes(direct) }
  }
  if (!typed) {
    if (bytes > 0) throw wrong(0)
    return { kind: 'inline', bytes: new Uint8Array(0) }
  }
  const decoded = await decode(file, name, dtype, bytes, typed)
  if (decoded.length !== bytes) throw wrong(decoded.length)
  return { kind: 'inline', bytes: decoded }
}

/** Where onnx.proto keeps elements of a type that are not in raw form. */
function typedField(dtype: Dtype): number {
  if (dtype === 'float32') return TENSOR.floatData
  if (dtype === 'float64') return TENSOR.doubleData
  if (dtype === 'int64') return TENSOR.int64Data
  if (dtype === 'uint32' || dtype === 'uint64') return TENSOR.uint64Data
  return TENSOR.int32Data
}

/** Packed floats and doubles lie in the file as they would in raw data. */
function fixedExtent(typed: Typed | null, dtype: Dtype): Extent | null {
  const fixed = dtype === 'float32' || dtype === 'float64'
  if (!fixed || typed?.field !== typedField(dtype)) return null
  if (typed.single.length > 0 || typed.extents.length !== 1) return null
  return typed.extents[0] ?? null
}

/** Elements that are kept as varints, or one field each, in raw form. */
async function decode(
  file: MessageFile,
  name: string,
  dtype: Dtype,
  bytes: number,
  typed: Typed,
): Promise<Uint8Array> {
  const encoded = typed.extents.reduce((sum, e) => sum + e.end - e.start, 0)
  if (Math.max(encoded, bytes) > LARGEST_DECODED)
    throw new ModelError(
      `Tensor "${name}" in ${file.path} keeps ${Math.max(encoded, bytes)} bytes outside its raw data, too many to decode; export the model with raw or external data.`,
    )
  if (typed.field !== typedField(dtype))
    throw new ModelError(
      `Tensor "${name}" in ${file.path} keeps its ${dtype} elements in a field for another type; export the model again.`,
    )
  // One after another: the file has one window.
  const chunks: Uint8Array[] = []
  for (const extent of typed.extents) chunks.push(await file.bytes(extent))
  if (dtype === 'float32' || dtype === 'float64') return fixedBytes(typed, chunks)
  // int4 and uint4 come as bytes that hold two elements.
  const width = Math.max(1, bitsOf(dtype) / 8)
  // Every varint has exactly one byte without the continuation bit.
  const count = chunks.reduce((sum, c) => sum + c.filter((b) => b < 128).length, 0)
  const out = new DataView(new ArrayBuffer((count + typed.single.length) * width))
  let at = 0
  const put = (low: number, high: number): void => {
    if (width === 8) {
      out.setInt32(at, low, true)
      out.setInt32(at + 4, high, true)
    } else if (width === 4) out.setInt32(at, low, true)
    else if (width === 2) out.setInt16(at, low, true)
    else out.setInt8(at, low)
    at += width
  }
  for (const chunk of chunks) varints(file, chunk, put)
  for (const value of typed.single) {
    const big = BigInt(value)
    put(Number(BigInt.asIntN(32, big)), Number(BigInt.asIntN(32, big >> 32n)))
  }
  return new Uint8Array(out.buffer)
}

function varints(
  file: MessageFile,
  chunk: Uint8Array,
  put: (low: number, high: number) => void,
): void {
  const reader = new Reader(chunk)
  try {
    while (reader.pos < reader.len) {
      const long = reader.uint64()
      put(long.low, long.high)
    }
  } catch {
    throw file.malformed(0)
  }
}

function fixedBytes(typed: Typed, chunks: readonly Uint8Array[]): Uint8Array {
  const width = typed.field === TENSOR.floatData ? 4 : 8
  const singles = new DataView(new ArrayBuffer(typed.single.length * width))
  typed.single.forEach((value, i) => {
    if (width === 4) singles.setFloat32(i * 4, Number(value), true)
    else singles.setFloat64(i * 8, Number(value), true)
  })
  return Buffer.concat([...chunks, new Uint8Array(singles.buffer)])
}
