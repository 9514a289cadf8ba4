/** The caches of one sequence in one session, in the WASM heap. */
import type { Cache } from '../../model-split/manifest.ts'
import { capacityFor } from './capacity.ts'
import { heap, type HeapModule } from './heap-module.ts'
import {
  createTensor,
  disposeTensor,
  download,
  upload,
  type HeapTensor,
} from './heap-session.ts'
import { emptyCache } from './session-inputs.ts'
import { byteLength, dimsFor, slice, type RunSize } from './tensors.ts'

export interface HeapCaches {
  /** Past tensors by cache input, ready for a run of this size. */
  before(size: RunSize): ReadonlyMap<string, HeapTensor>
  /** What the run shall write into, by cache output. */
  targets(): ReadonlyMap<string, HeapTensor | null>
  /** After a run that succeeded. */
  after(outputs: ReadonlyMap<string, HeapTensor>): void
  bytes(): number
  dispose(): void
}

/** Past and present are one buffer that grows in doublings; a run moves no old row. */
export class SharedCaches implements HeapCaches {
  readonly #module: HeapModule
  readonly #caches: readonly Cache[]
  readonly #tensors = new Map<string, HeapTensor>()
  #capacity = 0

  constructor(module: HeapModule, caches: readonly Cache[]) {
    this.#module = module
    this.#caches = caches
  }

  before(size: RunSize): ReadonlyMap<string, HeapTensor> {
    const needed = size.past + size.rows
    if (needed > this.#capacity) this.#grow(size, capacityFor(needed))
    return this.#tensors
  }

  targets(): ReadonlyMap<string, HeapTensor | null> {
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
    disposeAll(this.#module, this.#tensors)
    this.#capacity = 0
  }

  #grow({ batch, past }: RunSize, capacity: number): void {
    const module = this.#module
    for (const cache of this.#caches) {
      const dims = dimsFor(cache.dims, { batch, rows: 0, past: capacity })
      const larger = createTensor(
        module,
        cache.dtype,
        dims,
        byteLength(cache.dtype, dims),
      )
      heap(module).fill(0, larger.address, larger.address + larger.bytes)
      const old = this.#tensors.get(cache.input)
      if (old) {
        copyRows(module, cache, old, larger, past)
        disposeTensor(module, old)
      }
      this.#tensors.set(cache.input, larger)
    }
    this.#capacity = capacity
  }
}

/** Each run makes new tensors; the old ones are let go afterwards. */
export class FreshCaches implements HeapCaches {
  readonly #module: HeapModule
  readonly #caches: readonly Cache[]
  readonly #tensors = new Map<string, HeapTensor>()

  constructor(module: HeapModule, caches: readonly Cache[]) {
    this.#module = module
    this.#caches = caches
  }

  before({ batch, past }: RunSize): ReadonlyMap<string, HeapTensor> {
    const module = this.#module
    for (const cache of this.#caches) {
      const old = this.#tensors.get(cache.input)
      const axis = cache.axis
      if (!old) this.#tensors.set(cache.input, upload(module, emptyCache(cache, batch)))
      else if (axis !== null && old.dims[axis] !== past) {
        const shorter = upload(module, slice(download(module, old), axis, 0, past))
        disposeTensor(module, old)
        this.#tensors.set(cache.input, shorter)
      }
    }
    return this.#tensors
  }

  targets(): ReadonlyMap<string, HeapTensor | null> {
    return new Map(this.#caches.map(({ output }) => [output, null]))
  }

  after(outputs: ReadonlyMap<string, HeapTensor>): void {
    for (const { input, output } of this.#caches) {
      const old = this.#tensors.get(input)
      const fresh = outputs.get(output)
      if (!fresh) continue
      if (old) disposeTensor(this.#module, old)
      this.#tensors.set(input, fresh)
    }
  }

  bytes(): number {
    return sizeOf(this.#tensors)
  }

  dispose(): void {
    disposeAll(this.#module, this.#tensors)
  }
}

function copyRows(
  module: HeapModule,
  { axis }: Cache,
  from: HeapTensor,
  to: HeapTensor,
  rows: number,
): void {
  if (axis === null) return
  const outer = from.dims.slice(0, axis).reduce((product, dim) => product * dim, 1)
  const inner = byteLength(from.dtype, from.dims.slice(axis + 1))
  const memory = heap(module)
  for (let i = 0; i < outer; i++) {
    const start = from.address + i * (from.dims[axis] ?? 0) * inner
    memory.copyWithin(
      to.address + i * (to.dims[axis] ?? 0) * inner,
      start,
      start + rows * inner,
    )
  }
}

function sizeOf(tensors: ReadonlyMap<string, HeapTensor>): number {
  return [...tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0)
}

function disposeAll(module: HeapModule, tensors: Map<string, HeapTensor>): void {
  for (const tensor of tensors.values()) disposeTensor(module, tensor)
  tensors.clear()
}
