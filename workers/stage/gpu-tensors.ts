/** Tensors in buffers of a graphics processor: made, copied, read back. */
import type { Tensor } from 'onnxruntime-common'
import type { Dtype } from '../../model-split/manifest.ts'
import type { HeldTensors } from './backend.ts'
import { dtypeOf, fromOrt, toOrt, type Ort } from './ort-tensors.ts'
import { byteLength, outerOf, slice } from './tensors.ts'
import { StageError, type TensorData } from './types.ts'

/** Flags of GPUBufferUsage and GPUMapMode, which no TypeScript lib declares as values. */
const USAGE = { mapRead: 0x1, copySource: 0x4, copyTarget: 0x8, storage: 0x80 } as const
const MAP_READ = 0x1

/** Element types that a tensor in a GPU buffer may have. */
const GPU_TYPES = ['float32', 'float16', 'int32', 'int64', 'uint32', 'uint8'] as const
type GpuType = (typeof GPU_TYPES)[number]

export function gpuType(dtype: Dtype): GpuType | null {
  return GPU_TYPES.find((type) => type === dtype) ?? null
}

export class GpuTensors implements HeldTensors<Tensor> {
  readonly #ort: Ort
  readonly #device: GPUDevice
  /** Between two reads, what the last one came through. */
  #staging: GPUBuffer | null = null

  constructor(ort: Ort, device: GPUDevice) {
    this.#ort = ort
    this.#device = device
  }

  /** Stays on the CPU: the runtime writes it to where it is needed. */
  upload(tensor: TensorData): Tensor {
    return toOrt(this.#ort, tensor)
  }

  /** Of unset elements. @throws StageError `bad-model` for types that do not fit. */
  create(dtype: Dtype, dims: readonly number[]): Tensor {
    const dataType = gpuType(dtype)
    if (!dataType)
      throw new StageError(
        'bad-model',
        `A ${dtype} tensor does not fit a graphics processor.`,
      )
    const buffer = this.#device.createBuffer({
      size: padded(Math.max(byteLength(dtype, dims), 1)),
      usage: USAGE.storage | USAGE.copySource | USAGE.copyTarget,
    })
    const dispose = () => {
      buffer.destroy()
    }
    return this.#ort.Tensor.fromGpuBuffer(buffer, { dataType, dims, dispose })
  }

  slice(tensor: Tensor, axis: number, from: number, to: number): Tensor {
    if (tensor.location !== 'gpu-buffer')
      return this.upload(slice(fromOrt(tensor), axis, from, to))
    const part = this.create(dtypeOf(tensor), tensor.dims.with(axis, to - from))
    this.copy(tensor, part, axis, from, to)
    return part
  }

  /** Elements `[from, to)` along an axis become the first ones of a tensor with room. */
  copy(source: Tensor, target: Tensor, axis: number, from: number, to: number): void {
    const { gpuBuffer, dims } = target
    this.#copy(source, axis, from, to, gpuBuffer, dims[axis] ?? 0)
  }

  download(tensor: Tensor): Promise<TensorData> {
    return this.read(tensor, 0, 0, tensor.dims[0] ?? 1)
  }

  /** Elements `[from, to)` along an axis. */
  async read(
    tensor: Tensor,
    axis: number,
    from: number,
    to: number,
  ): Promise<TensorData> {
    if (tensor.location !== 'gpu-buffer') return slice(fromOrt(tensor), axis, from, to)
    const dtype = dtypeOf(tensor)
    const dims = tensor.dims.length > 0 ? tensor.dims.with(axis, to - from) : []
    const length = byteLength(dtype, dims)
    const bytes = new Uint8Array(length)
    if (length === 0) return { dtype, dims, bytes }
    const staging = this.#takeStaging(padded(length))
    this.#copy(tensor, axis, from, to, staging, to - from)
    await staging.mapAsync(MAP_READ, 0, padded(length))
    bytes.set(new Uint8Array(staging.getMappedRange(0, padded(length)), 0, length))
    staging.unmap()
    this.#staging?.destroy()
    this.#staging = staging
    return { dtype, dims, bytes }
  }

  dispose(tensor: Tensor): void {
    tensor.dispose()
  }

  #copy(
    source: Tensor,
    axis: number,
    from: number,
    to: number,
    target: GPUBuffer,
    room: number,
  ): void {
    const encoder = this.#device.createCommandEncoder()
    const { gpuBuffer, dims } = source
    const inner = byteLength(dtypeOf(source), dims.slice(axis + 1))
    const outer = outerOf(dims, axis)
    const bytes = (to - from) * inner
    for (let i = 0; i < outer; i++) {
      const start = (i * (dims[axis] ?? 1) + from) * inner
      // Whole words are copied; what is behind a tensor in its buffer does no harm.
      const size = outer === 1 ? Math.ceil(bytes / 4) * 4 : bytes
      encoder.copyBufferToBuffer(gpuBuffer, start, target, i * room * inner, size)
    }
    this.#device.queue.submit([encoder.finish()])
  }

  /** One buffer serves all reads that come one after another. */
  #takeStaging(size: number): GPUBuffer {
    const kept = this.#staging
    this.#staging = null
    if (kept && kept.size >= size) return kept
    kept?.destroy()
    const usage = USAGE.mapRead | USAGE.copyTarget
    return this.#device.createBuffer({ size, usage })
  }
}

/** Buffers of the runtime have a multiple of 16 bytes, too. */
function padded(bytes: number): number {
  return Math.ceil(bytes / 16) * 16
}
