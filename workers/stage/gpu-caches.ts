/** The caches of one sequence in one layer, in buffers of a graphics processor. */
import type { Tensor } from 'onnxruntime-common'
import type { Cache } from '../../model-split/manifest.ts'
import type { LayerCaches } from './backend.ts'
import { capacityFor } from './capacity.ts'
import type { GpuTensors } from './gpu-tensors.ts'
import { emptyCache } from './session-inputs.ts'
import { byteLength, dimsFor, outerOf, type RunSize } from './tensors.ts'
import type { TensorData } from './types.ts'

export class GpuCaches implements LayerCaches {
  readonly #device: GPUDevice
  readonly #gpu: GpuTensors
  readonly #caches: readonly Cache[]
  /**
   * By cache input. What has rows may hold more of them than are valid. Types that a GPU buffer
   * cannot have stay on the CPU, as do caches before their first run.
   */
  readonly #tensors = new Map<string, Tensor>()

  constructor(device: GPUDevice, gpu: GpuTensors, caches: readonly Cache[]) {
    this.#device = device
    this.#gpu = gpu
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
      const { axis, input } = cache
      const tensor = this.#tensors.get(input)
      if (!tensor) found.push(emptyCache(cache, 1))
      else if (axis !== null) found.push(await this.#gpu.read(tensor, axis, from, to))
      else found.push(await this.#gpu.download(tensor))
    }
    return found
  }

  write(from: number, rows: number, tensors: readonly TensorData[]): Promise<void> {
    for (const [i, cache] of this.#caches.entries()) {
      const data = tensors[i]
      if (!data) continue
      const { axis, input } = cache
      if (axis === null) {
        this.#replace(input, this.#gpu.upload({ ...data, bytes: data.bytes.slice() }))
        continue
      }
      const tensor = this.#hold(cache, from, from + rows)
      const inner = byteLength(cache.dtype, tensor.dims.slice(axis + 1))
      const part = rows * inner
      const outer = outerOf(tensor.dims, axis)
      for (let run = 0; run < outer; run++) {
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
    const larger = this.#gpu.create(dtype, dims)
    if (old && onGpu && axis !== null && past > 0)
      this.#gpu.copy(old, larger, axis, 0, past)
    this.#replace(input, larger)
    return larger
  }

  /** A tensor of exactly the past rows. */
  #fit(cache: Cache, { batch, past }: RunSize): void {
    const { axis, input } = cache
    const old = this.#tensors.get(input)
    if (!old || (axis !== null && past === 0))
      this.#replace(input, this.#gpu.upload(emptyCache(cache, batch)))
    else if (axis !== null && old.dims[axis] !== past)
      this.#replace(input, this.#gpu.slice(old, axis, 0, past))
  }

  #replace(input: string, tensor: Tensor): void {
    // Destroying a buffer waits for the copies that were submitted before.
    this.#tensors.get(input)?.dispose()
    this.#tensors.set(input, tensor)
  }
}

function sizeOf(type: string, dims: readonly number[]): number {
  const elements = dims.reduce((product, dim) => product * dim, 1)
  return elements * (/16$/.test(type) ? 2 : /64$/.test(type) ? 8 : 4)
}
