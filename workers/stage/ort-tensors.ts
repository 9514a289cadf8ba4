/** Our tensors as ONNX Runtime's, and back. */
import type { Tensor } from 'onnxruntime-common'
import { DTYPES, type Dtype } from '../../model-split/manifest.ts'
import { StageError, type TensorData } from './types.ts'

/** The parts of onnxruntime-web that the engines use; injected, so that Node can run them. */
export type Ort = Pick<
  typeof import('onnxruntime-common'),
  'env' | 'InferenceSession' | 'Tensor'
>

/** @throws StageError `bad-model` for types that the runtime does not take from JavaScript. */
export function toOrt(ort: Ort, { dtype, dims, bytes }: TensorData): Tensor {
  const aligned = bytes.byteOffset % elementBytes(dtype) === 0 ? bytes : bytes.slice()
  const { buffer, byteOffset } = aligned
  const part = <T>(array: new (b: ArrayBufferLike, o: number, n: number) => T): T =>
    new array(buffer, byteOffset, aligned.byteLength / elementBytes(dtype))
  switch (dtype) {
    case 'float32':
      return new ort.Tensor(dtype, part(Float32Array), dims)
    case 'float64':
      return new ort.Tensor(dtype, part(Float64Array), dims)
    case 'float16':
    case 'uint16':
      return new ort.Tensor(dtype, part(Uint16Array), dims)
    case 'int64':
      return new ort.Tensor(dtype, part(BigInt64Array), dims)
    case 'uint64':
      return new ort.Tensor(dtype, part(BigUint64Array), dims)
    case 'int32':
      return new ort.Tensor(dtype, part(Int32Array), dims)
    case 'uint32':
      return new ort.Tensor(dtype, part(Uint32Array), dims)
    case 'int16':
      return new ort.Tensor(dtype, part(Int16Array), dims)
    case 'int8':
      return new ort.Tensor(dtype, part(Int8Array), dims)
    case 'uint8':
    case 'bool':
      return new ort.Tensor(dtype, part(Uint8Array), dims)
    default:
      throw new StageError('bad-model', `A ${dtype} tensor cannot be fed to the runtime.`)
  }
}

/** @throws StageError `bad-model` for a type of the runtime that no model may have. */
export function dtypeOf({ type }: Tensor): Dtype {
  const dtype = DTYPES.find((known) => known === type)
  if (dtype) return dtype
  throw new StageError(
    'bad-model',
    `The model gives a ${type} tensor, which cannot be sent.`,
  )
}

/** A CPU tensor; shares its bytes. */
export function fromOrt(tensor: Tensor): TensorData {
  const { data, dims } = tensor
  const dtype = dtypeOf(tensor)
  if (Array.isArray(data))
    throw new StageError('internal', 'A tensor of texts has no bytes.')
  return {
    dtype,
    dims,
    bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  }
}

function elementBytes(dtype: Dtype): number {
  if (/64$/.test(dtype)) return 8
  if (/32$/.test(dtype)) return 4
  return /16$/.test(dtype) ? 2 : 1
}
