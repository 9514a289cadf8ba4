/** The caches of one sequence in one session, in buffers of the graphics processor. */
import type { Tensor } from 'onnxruntime-common'
import type { Cache, Dtype } from '../../model-split/manifest.ts'
import { capacityFor } from './capacity.ts'
import { toOrt, type Ort } from './ort-tensors.ts'
import { emptyCache } from './session-inputs.ts'
import { StageError } from './types.ts'
import { byteLength, dimsFor, type RunSize } from './tensors.ts'

export interface GpuCaches {
  /** Past tensors by cache input, ready for a run of this size. */
  before(size: RunSize): ReadonlyMap<string, Tensor>
  /** What the run shall write into, by cache output; null for a fresh tensor. */
  targets(): ReadonlyMap<string, Tensor | null>
  /** After a run that succeeded. */
  after(outputs: Readonly<Record<string, Tensor>>): void
  bytes(): number
  dispose(): void
}

/** Flags of GPUBufferUsage, which no TypeScript lib declares as values. */
const USAGE = { copySource: 0x4, copyTarget: 0x8, storage: 0x80 } as const

/** Element types that a tensor in a GPU buffer may have. */
const GPU_TYPES = ['float32', 'float16', 'int32', 'int64', 'uint32', 'uint8'] as const
type GpuType = (typeof GPU_TYPES)[number]

export function gpuType(dtype: Dtype): GpuType | null {
  return GPU_TYPES.find((type) => type === dtype) ?? null
}

/** Past and present are one buffer that grows in doublings; a run moves no old row. */
export class SharedGpuCaches implements GpuCaches {
  readonly #ort: Ort
  readonly #device: GPUDevice
  readonly #caches: readonly Cache[]
  readonly #tensors = new Map<string, Tensor>()
  #capacity = 0

  constructor(ort: Ort, device: GPUDevice, caches: readonly Cache[]) {
    this.#ort = ort
    this.#device = device
    this.#caches = caches
  }

  before(size: RunSize): ReadonlyMap<string, Tensor> {
    const needed = size.past + size.rows
    if (needed > this.#capacity) this.#grow(size, capacityFor(needed))
    return this.#tensors
  }

  targets(): ReadonlyMap<string, Tensor | null> {
    return new Map(
      this.#caches.map((c) => [c.output, this.#tensors.get(c.input) ?? null]),
    )
  }

  after(): void {
    // The run wrote in place.
  }

  bytes(): number {
    return sizeOf(this.#tensors)
  }

  dispose(): void {
    disposeAll(this.#tensors)
    this.#capacity = 0
  }

  #grow({ batch, past }: RunSize, capacity: number): void {
    const encoder = this.#device.createCommandEncoder()
    const old: Tensor[] = []
    for (const cache of this.#caches) {
      const dims = dimsFor(cache.dims, { batch, rows: 0, past: capacity })
      const larger = gpuTensor(this.#ort, this.#device, cache.dtype, dims)
      const smaller = this.#tensors.get(cache.input)
      if (smaller) {
        copyRows(encoder, cache, smaller, larger, past)
        old.push(smaller)
      }
      this.#tensors.set(cache.input, larger)
    }
    this.#device.queue.submit([encoder.finish()])
    // Destroying waits for what was submitted before.
    for (const tensor of old) tensor.dispose()
    this.#capacity = capacity
  }
}

/** Each run makes new tensors; the old ones go back to the runtime afterwards. */
export class FreshGpuCaches implements GpuCaches {
  readonly #ort: Ort
  readonly #device: GPUDevice
  readonly #caches: readonly Cache[]
  readonly #tensors = new Map<string, Tensor>()

  constructor(ort: Ort, device: GPUDevice, caches: readonly Cache[]) {
    this.#ort = ort
    this.#device = device
    this.#caches = caches
  }

  before({ batch, past }: RunSize): ReadonlyMap<string, Tensor> {
    for (const cache of this.#caches) {
      const old = this.#tensors.get(cache.input)
      const { axis } = cache
      if (!old || (axis !== null && past === 0)) {
        old?.dispose()
        this.#tensors.set(cache.input, toOrt(this.#ort, emptyCache(cache, batch)))
      } else if (axis !== null && old.dims[axis] !== past) {
        const dims = old.dims.with(axis, past)
        const shorter = gpuTensor(this.#ort, this.#device, cache.dtype, dims)
        const encoder = this.#device.createCommandEncoder()
        copyRows(encoder, cache, old, shorter, past)
        this.#device.queue.submit([encoder.finish()])
        old.dispose()
        this.#tensors.set(cache.input, shorter)
      }
    }
    return this.#tensors
  }

  targets(): ReadonlyMap<string, Tensor | null> {
    return new Map(this.#caches.map(({ output }) => [output, null]))
  }

  after(outputs: Readonly<Record<string, Tensor>>): void {
    for (const { input, output } of this.#caches) {
      const fresh = outputs[output]
      if (!fresh) continue
      this.#tensors.get(input)?.dispose()
      this.#tensors.set(input, fresh)
    }
  }

  bytes(): number {
    return sizeOf(this.#tensors)
  }

  dispose(): void {
    disposeAll(this.#tensors)
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

function copyRows(
  encoder: GPUCommandEncoder,
  { axis, dtype }: Cache,
  from: Tensor,
  to: Tensor,
  rows: number,
): void {
  if (axis === null || rows === 0) return
  const outer = from.dims.slice(0, axis).reduce((product, dim) => product * dim, 1)
  const inner = byteLength(dtype, from.dims.slice(axis + 1))
  for (let i = 0; i < outer; i++)
    encoder.copyBufferToBuffer(
      from.gpuBuffer,
      i * (from.dims[axis] ?? 0) * inner,
      to.gpuBuffer,
      i * (to.dims[axis] ?? 0) * inner,
      rows * inner,
    )
}

function sizeOf(tensors: ReadonlyMap<string, Tensor>): number {
  return [...tensors.values()].reduce((sum, { type, dims }) => {
    const elements = dims.reduce((product, dim) => product * dim, 1)
    return sum + elements * (/16$/.test(type) ? 2 : /64$/.test(type) ? 8 : 4)
  }, 0)
}

function disposeAll(tensors: Map<string, Tensor>): void {
  for (const tensor of tensors.values()) tensor.dispose()
  tensors.clear()
}
