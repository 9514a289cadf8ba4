/** The caches of one sequence in one layer, in the WASM heap. */
import type { Cache } from '../../model-split/manifest.ts'
import type { LayerCaches } from './backend.ts'
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
import { byteLength, dimsFor, outerOf, slice, type RunSize } from './tensors.ts'
import type { TensorData } from './types.ts'

export class HeapCaches implements LayerCaches {
  readonly #module: HeapModule
  readonly #caches: readonly Cache[]
  /** By cache input. What has rows may hold more of them than are valid. */
  readonly #tensors = new Map<string, HeapTensor>()

  constructor(module: HeapModule, caches: readonly Cache[]) {
    this.#module = module
    this.#caches = caches
  }

  /**
   * Past tensors by cache input, ready for a run of this size.
   * @param inPlace past and present are one buffer, which the run adds its rows to; else each
   *   run makes new tensors.
   */
  before(size: RunSize, inPlace: boolean): ReadonlyMap<string, HeapTensor> {
    for (const cache of this.#caches)
      if (inPlace) this.#hold(cache, size.past, size.past + size.rows)
      else this.#fit(cache, size)
    return this.#tensors
  }

  /** What the run shall write into, by cache output. */
  targets(inPlace: boolean): [string, HeapTensor | null][] {
    return this.#caches.map(({ input, output }) => [
      output,
      inPlace ? (this.#tensors.get(input) ?? null) : null,
    ])
  }

  /** After a run that succeeded. */
  after(outputs: ReadonlyMap<string, HeapTensor>): void {
    for (const { input, output } of this.#caches) {
      const fresh = outputs.get(output)
      if (fresh) this.#replace(input, fresh)
    }
  }

  read(from: number, to: number): Promise<TensorData[]> {
    return Promise.resolve(
      this.#caches.map((cache) => {
        const { axis } = cache
        const tensor = this.#tensors.get(cache.input)
        if (!tensor) return emptyCache(cache, 1)
        if (axis === null) return download(this.#module, tensor)
        const inner = byteLength(tensor.dtype, tensor.dims.slice(axis + 1))
        const part = (to - from) * inner
        const bytes = new Uint8Array(outerOf(tensor.dims, axis) * part)
        const memory = heap(this.#module)
        eachRun(tensor, axis, inner, (start, i) => {
          const at = start + from * inner
          bytes.set(memory.subarray(at, at + part), i * part)
        })
        return { dtype: tensor.dtype, dims: tensor.dims.with(axis, to - from), bytes }
      }),
    )
  }

  write(from: number, rows: number, tensors: readonly TensorData[]): Promise<void> {
    for (const [i, cache] of this.#caches.entries()) {
      const { axis, input } = cache
      const data = tensors[i]
      if (!data) continue
      if (axis === null) {
        this.#replace(input, upload(this.#module, data))
        continue
      }
      const tensor = this.#hold(cache, from, from + rows)
      const inner = byteLength(tensor.dtype, tensor.dims.slice(axis + 1))
      const part = rows * inner
      const memory = heap(this.#module)
      eachRun(tensor, axis, inner, (start, run) => {
        const bytes = data.bytes.subarray(run * part, (run + 1) * part)
        memory.set(bytes, start + from * inner)
      })
    }
    return Promise.resolve()
  }

  bytes(): number {
    return [...this.#tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0)
  }

  dispose(): void {
    for (const tensor of this.#tensors.values()) disposeTensor(this.#module, tensor)
    this.#tensors.clear()
  }

  /** A buffer of at least so many rows, of which the first `past` are kept. */
  #hold(cache: Cache, past: number, rows: number): HeapTensor {
    const module = this.#module
    const { axis, dtype, input } = cache
    const old = this.#tensors.get(input)
    if (old && (axis === null || (old.dims[axis] ?? 0) >= rows)) return old
    const dims = dimsFor(cache.dims, { batch: 1, rows: 0, past: capacityFor(rows) })
    const larger = createTensor(module, dtype, dims, byteLength(dtype, dims))
    heap(module).fill(0, larger.address, larger.address + larger.bytes)
    if (old && axis !== null) copyRows(module, axis, old, larger, past)
    this.#replace(input, larger)
    return larger
  }

  /** A tensor of exactly the past rows. */
  #fit(cache: Cache, { batch, past }: RunSize): void {
    const module = this.#module
    const { axis, input } = cache
    const old = this.#tensors.get(input)
    if (!old) this.#replace(input, upload(module, emptyCache(cache, batch)))
    else if (axis !== null && old.dims[axis] !== past)
      this.#replace(input, upload(module, slice(download(module, old), axis, 0, past)))
  }

  #replace(input: string, tensor: HeapTensor): void {
    const old = this.#tensors.get(input)
    if (old === tensor) return
    if (old) disposeTensor(this.#module, old)
    this.#tensors.set(input, tensor)
  }
}

function copyRows(
  module: HeapModule,
  axis: number,
  from: HeapTensor,
  to: HeapTensor,
  rows: number,
): void {
  const inner = byteLength(from.dtype, from.dims.slice(axis + 1))
  const memory = heap(module)
  const stride = (to.dims[axis] ?? 0) * inner
  eachRun(from, axis, inner, (start, i) => {
    memory.copyWithin(to.address + i * stride, start, start + rows * inner)
  })
}

/** Where the rows of each index before the row axis begin. */
function eachRun(
  tensor: HeapTensor,
  axis: number,
  inner: number,
  visit: (address: number, index: number) => void,
): void {
  const stride = (tensor.dims[axis] ?? 0) * inner
  for (let i = 0; i < outerOf(tensor.dims, axis); i++)
    visit(tensor.address + i * stride, i)
}
