/**
 * What this device's caches hold, by sequence and layer, and which attempt wrote it. It
 * outlives plans: whoever gets a layer copies its rows together with their lineage.
 */
import type { Cache } from '../../model-split/manifest.ts'
import { byteLength } from '../stage/tensors.ts'
import type { Engine, TensorData } from '../stage/types.ts'
import { cacheDims } from './limits.ts'
import { Lineage } from './lineage.ts'

/** Rows of one layer of one sequence on their way to another device. */
export interface RowCopy {
  readonly from: number
  /** The attempt that wrote row `from - 1` where they come from; 0 at row 0. */
  readonly base: number
  /** Per row, the attempt that wrote it. */
  readonly attempts: readonly number[]
  /** In the manifest's order. */
  readonly tensors: readonly TensorData[]
}

export class CacheRows {
  readonly #engine: Engine
  readonly #sequences = new Map<number, Map<number, Lineage>>()

  constructor(engine: Engine) {
    this.#engine = engine
  }

  /** With rows here, now or before. */
  get sequences(): number[] {
    return [...this.#sequences.keys()]
  }

  /** Of what the engine still holds: it may have dropped rows on its own. */
  #lineage(sequence: number, layer: number): Lineage {
    const lineage = this.#sequences.get(sequence)?.get(layer) ?? new Lineage()
    lineage.truncate(this.#engine.rows(sequence, layer))
    return lineage
  }

  /** The same, kept from now on. */
  #kept(sequence: number, layer: number): Lineage {
    const layers = this.#sequences.get(sequence) ?? new Map<number, Lineage>()
    const lineage = layers.get(layer) ?? new Lineage()
    this.#sequences.set(sequence, layers.set(layer, lineage))
    return lineage
  }

  /** Rows that all these layers hold. */
  rows(sequence: number, layers: readonly number[]): number {
    if (layers.length === 0) return 0
    return Math.min(...layers.map((layer) => this.#lineage(sequence, layer).rows))
  }

  /** Sequences with rows in one of these layers, and how many. */
  list(layers: readonly number[]): [sequence: number, rows: number][] {
    return [...this.#sequences.keys()].map((sequence) => [
      sequence,
      Math.max(0, ...layers.map((layer) => this.#lineage(sequence, layer).rows)),
    ])
  }

  /** Layers that cannot go on at `position` after rows that `base` wrote. */
  behind(
    sequence: number,
    layers: readonly number[],
    position: number,
    base: number,
  ): number[] {
    return layers.filter(
      (layer) => !this.#lineage(sequence, layer).continues(position, base),
    )
  }

  /** See `Lineage.reliable`. */
  reliable(sequence: number, layers: readonly number[], position: number): number {
    return Math.min(
      ...layers.map((layer) => this.#lineage(sequence, layer).reliable(position)),
    )
  }

  wrote(
    sequence: number,
    layers: readonly number[],
    position: number,
    rows: number,
    attempt: number,
  ): void {
    for (const layer of layers) this.#kept(sequence, layer).wrote(position, rows, attempt)
  }

  truncate(sequence: number, layers: readonly number[], length: number): void {
    for (const layer of layers) this.#lineage(sequence, layer).truncate(length)
  }

  drop(sequence: number): void {
    this.#sequences.delete(sequence)
    this.#engine.drop(sequence)
  }

  /** Rows `[from, to)` as far as they are here; null: not one. @throws StageError */
  async copy(
    sequence: number,
    layer: number,
    from: number,
    to: number,
  ): Promise<RowCopy | null> {
    const lineage = this.#lineage(sequence, layer)
    const end = Math.min(to, lineage.rows)
    if (end <= from) return null
    const attempts = Array.from({ length: end - from }, (_, i) =>
      lineage.writer(from + i),
    )
    const base = lineage.writer(from - 1)
    const tensors = await this.#engine.exportRows(sequence, layer, from, end)
    return { from, base, attempts, tensors }
  }

  /** Whether these rows go on where this layer's rows here end. */
  fits(sequence: number, layer: number, { from, base }: RowCopy): boolean {
    return this.#lineage(sequence, layer).continues(from, base)
  }

  /** Takes rows over that fit. @throws StageError */
  async paste(sequence: number, layer: number, rows: RowCopy): Promise<void> {
    const { from, attempts, tensors } = rows
    await this.#engine.importRows(sequence, layer, from, attempts.length, tensors)
    const lineage = this.#kept(sequence, layer)
    attempts.forEach((attempt, i) => lineage.wrote(from + i, 1, attempt))
  }
}

/** The payload of a `kv` frame: the attempts as u32, then the caches. */
export function packRows({ attempts, tensors }: RowCopy): Uint8Array {
  const head = attempts.length * 4
  const size = tensors.reduce((sum, { bytes }) => sum + bytes.byteLength, head)
  const payload = new Uint8Array(size)
  const view = new DataView(payload.buffer)
  attempts.forEach((attempt, i) => view.setUint32(i * 4, attempt, true))
  let at = head
  for (const { bytes } of tensors) {
    payload.set(bytes, at)
    at += bytes.byteLength
  }
  return payload
}

/** Reads a payload whose length was checked. */
export function unpackRows(
  caches: readonly Cache[],
  rows: number,
  payload: Uint8Array,
): Pick<RowCopy, 'attempts' | 'tensors'> {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength)
  const attempts = Array.from({ length: rows }, (_, i) => view.getUint32(i * 4, true))
  let at = rows * 4
  const tensors = caches.map((cache) => {
    const dims = cacheDims(cache, rows)
    const length = byteLength(cache.dtype, dims)
    const bytes = payload.subarray(at, at + length)
    at += length
    return { dtype: cache.dtype, dims, bytes }
  })
  return { attempts, tensors }
}
