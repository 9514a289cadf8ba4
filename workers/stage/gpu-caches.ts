/** The caches of one sequence in one layer, in buffers of the graphics processor. */
import type { Tensor } from 'onnxruntime-common'
import type { Cache, Dtype } from '../../model-split/manifest.ts'
import type { LayerCaches } from './backend.ts'
import { capacityFor } from './capacity.ts'
import { fromOrt, toOrt, type Ort } from './ort-tensors.ts'
import { emptyCache } from './session-inputs.ts'
import { StageError, type TensorData } from './types.ts'
import { byteLength, dimsFor, slice, type RunSize } from './tensors.ts'

/** Flags of GPUBufferUsage and GPUMapMode, which no TypeScript lib declares as values. */
const USAGE = { mapRead: 0x1, copySource: 0x4, copyTarget: 0x8, storage: 0x80 } as const
const MAP_READ = 0x1

/** Element types that a tensor in a GPU buffer may have. */
const GPU_TYPES = ['float32', 'float16', 'int32', 'int64', 'uint32', 'uint8'] as const
type GpuType = (typeof GPU_TYPES)[number]

export function gpuType(dtype: Dtype): GpuType | null {
  return GPU_TYPES.find((type) => type === dtype) ?? null
}

export class GpuCaches implements LayerCaches {
  readonly #ort: Ort
  readonly #device: GPUDevice
  readonly #caches: readonly Cache[]
  /**
   * By cache input. What has rows may hold more of them than are valid. Types that a GPU buffer
   * cannot have stay on the CPU, as do caches before their first run.
   */
  readonly #tensors = new Map<string, Tensor>()

  constructor(ort: Ort, device: GPUDevice, caches: readonly Cache[]) {
    this.#ort = ort
    this.#device = device
    this.#caches = caches
  }

  /**
   * Past tensors by cache input, ready for a run of this size.
   * @param inPlace past and present are one buffer, which the run adds its rows to; else each
   *   run makes new tensors.
   */
  before(size: RunSize, inPlace: boolean): ReadonlyMap<string, Tensor> {
    for (const cache of this.#caches)
      if (inPlace) this.#hold(cache, size.past, size.past + size.rows)
      else this.#fit(cache, size)
    return this.#tensors
  }

  /** What the run shall write into, by cache output; null for a fresh tensor. */
  targets(inPlace: boolean): [string, Tensor | null][] {
    return this.#caches.map(({ input, output }) => [
      output,
      inPlace ? (this.#tensors.get(input) ?? null) : null,
    ])
  }

  /** After a run that succeeded. */
  after(outputs: Readonly<Record<string, Tensor>>, inPlace: boolean): void {
    // The runtime gives back a given buffer as a tensor of its own.
    if (inPlace) return
    for (const { input, output } of this.#caches) {
      const fresh = outputs[output]
      if (fresh) this.#replace(input, fresh)
    }
  }

  async read(from: number, to: number): Promise<TensorData[]> {
    const found: TensorData[] = []
    for (const cache of this.#caches) {
      const { axis } = cache
      const tensor = this.#tensors.get(cache.input)
      if (!tensor) found.push(emptyCache(cache, 1))
      else if (tensor.location !== 'gpu-buffer') {
        const whole = fromOrt(tensor)
        found.push(
          axis === null
            ? { ...whole, bytes: whole.bytes.slice() }
            : slice(whole, axis, from, to),
        )
      } else found.push(await this.#download(cache, tensor, from, to))
    }
    return found
  }

  write(from: number, rows: number, tensors: readonly TensorData[]): Promise<void> {
    for (const [i, cache] of this.#caches.entries()) {
      const data = tensors[i]
      if (!data) continue
      const { axis, input } = cache
      if (axis === null) {
        this.#replace(input, toOrt(this.#ort, { ...data, bytes: data.bytes.slice() }))
        continue
      }
      const tensor = this.#hold(cache, from, from + rows)
      const inner = byteLength(cache.dtype, tensor.dims.slice(axis + 1))
      const part = rows * inner
      for (let run = 0; run < outerOf(tensor, axis); run++) {
        const start = (run * (tensor.dims[axis] ?? 0) + from) * inner
        const bytes = data.bytes.slice(run * part, (run + 1) * part)
        this.#device.queue.writeBuffer(tensor.gpuBuffer, start, bytes)
      }
    }
    return Promise.resolve()
  }

  bytes(): number {
    return [...this.#tensors.values()].reduce(
      (sum, { type, dims }) => sum + sizeOf(type, dims),
      0,
    )
  }

  dispose(): void {
    for (const tensor of this.#tensors.values()) tensor.dispose()
    this.#tensors.clear()
  }

  /** A buffer of at least so many rows, of which the first `past` are kept. */
  #hold(cache: Cache, past: number, rows: number): Tensor {
    const { axis, dtype, input } = cache
    const old = this.#tensors.get(input)
    const onGpu = old?.location === 'gpu-buffer'
    if (old && (axis === null || (onGpu && (old.dims[axis] ?? 0) >= rows))) return old
    const dims = dimsFor(cache.dims, { batch: 1, rows: 0, past: capacityFor(rows) })
    const larger = gpuTensor(this.#ort, this.#device, dtype, dims)
    if (old && onGpu && axis !== null) this.#copy(cache, old, larger, past)
    this.#replace(input, larger)
    return larger
  }

  /** A tensor of exactly the past rows. */
  #fit(cache: Cache, { batch, past }: RunSize): void {
    const { axis, dtype, input } = cache
    const old = this.#tensors.get(input)
    if (!old || (axis !== null && past === 0)) {
      this.#replace(input, toOrt(this.#ort, emptyCache(cache, batch)))
      return
    }
    if (axis === null || old.dims[axis] === past) return
    if (old.location === 'gpu-buffer') {
      const dims = old.dims.with(axis, past)
      const shorter = gpuTensor(this.#ort, this.#device, dtype, dims)
      this.#copy(cache, old, shorter, past)
      this.#replace(input, shorter)
    } else this.#replace(input, toOrt(this.#ort, slice(fromOrt(old), axis, 0, past)))
  }

  #replace(input: string, tensor: Tensor): void {
    // Destroying a buffer waits for the copies that were submitted before.
    this.#tensors.get(input)?.dispose()
    this.#tensors.set(input, tensor)
  }

  #copy({ axis, dtype }: Cache, from: Tensor, to: Tensor, rows: number): void {
    if (axis === null || rows === 0) return
    const encoder = this.#device.createCommandEncoder()
    const inner = byteLength(dtype, from.dims.slice(axis + 1))
    for (let i = 0; i < outerOf(from, axis); i++)
      encoder.copyBufferToBuffer(
        from.gpuBuffer,
        i * (from.dims[axis] ?? 0) * inner,
        to.gpuBuffer,
        i * (to.dims[axis] ?? 0) * inner,
        rows * inner,
      )
    this.#device.queue.submit([encoder.finish()])
  }

  async #download(
    { axis, dtype }: Cache,
    tensor: Tensor,
    from: number,
    to: number,
  ): Promise<TensorData> {
    const whole = axis === null
    const dims = whole ? [...tensor.dims] : tensor.dims.with(axis, to - from)
    const outer = whole ? 1 : outerOf(tensor, axis)
    const inner = whole ? 0 : byteLength(dtype, tensor.dims.slice(axis + 1))
    const stride = whole ? 0 : (tensor.dims[axis] ?? 0) * inner
    const bytes = new Uint8Array(byteLength(dtype, dims))
    const part = bytes.byteLength / outer
    if (part === 0) return { dtype, dims, bytes }
    const staging = this.#device.createBuffer({
      size: Math.ceil(bytes.byteLength / 4) * 4,
      usage: USAGE.mapRead | USAGE.copyTarget,
    })
    try {
      const encoder = this.#device.createCommandEncoder()
      for (let i = 0; i < outer; i++)
        encoder.copyBufferToBuffer(
          tensor.gpuBuffer,
          i * stride + from * inner,
          staging,
          i * part,
          outer === 1 ? Math.ceil(part / 4) * 4 : part,
        )
      this.#device.queue.submit([encoder.finish()])
      await staging.mapAsync(MAP_READ)
      bytes.set(new Uint8Array(staging.getMappedRange(), 0, bytes.byteLength))
    } finally {
      staging.destroy()
    }
    return { dtype, dims, bytes }
  }
}

function gpuTensor(
  ort: Ort,
  device: GPUDevice,
  dtype: Dtype,
  dims: readonly number[],
): Tensor {
  const dataType = gpuType(dtype)
  if (!dataType)
    throw new StageError(
      'bad-model',
      `A ${dtype} cache does not fit a graphics processor.`,
    )
  const buffer = device.createBuffer({
    size: Math.ceil(Math.max(byteLength(dtype, dims), 16) / 16) * 16,
    usage: USAGE.storage | USAGE.copySource | USAGE.copyTarget,
  })
  const dispose = () => {
    buffer.destroy()
  }
  return ort.Tensor.fromGpuBuffer(buffer, { dataType, dims, dispose })
}

function outerOf({ dims }: Tensor, axis: number): number {
  return dims.slice(0, axis).reduce((product, dim) => product * dim, 1)
}

function sizeOf(type: string, dims: readonly number[]): number {
  const elements = dims.reduce((product, dim) => product * dim, 1)
  return elements * (/16$/.test(type) ? 2 : /64$/.test(type) ? 8 : 4)
}
