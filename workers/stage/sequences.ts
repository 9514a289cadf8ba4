/** How many rows of each sequence every layer holds, and in which caches. */
import type { Cache } from '../../model-split/manifest.ts'
import type { LayerCaches } from './backend.ts'

interface Kept<Caches> {
  readonly caches: Caches
  rows: number
}

interface Sequence<Caches> {
  readonly layers: Map<number, Kept<Caches>>
  running: boolean
  /** Asked for while it runs: rows that are left when the run is over. */
  limit: number
}

export interface SequenceParts<Caches> {
  /** Of a layer, as the manifest describes them. */
  readonly cachesOf: (layer: number) => readonly Cache[]
  readonly create: (caches: readonly Cache[]) => Caches
}

export class Sequences<Caches extends LayerCaches> {
  readonly #parts: SequenceParts<Caches>
  readonly #all = new Map<number, Sequence<Caches>>()

  constructor(parts: SequenceParts<Caches>) {
    this.#parts = parts
  }

  rows(sequence: number, layer: number): number {
    return this.#all.get(sequence)?.layers.get(layer)?.rows ?? 0
  }

  caches(sequence: number, layer: number): Caches | null {
    return this.#all.get(sequence)?.layers.get(layer)?.caches ?? null
  }

  /** Caches of a layer, made where there are none yet. */
  open(sequence: number, layer: number): Caches {
    const { layers } = this.#use(sequence)
    const known = layers.get(layer)
    if (known) return known.caches
    const { create, cachesOf } = this.#parts
    const caches = create(cachesOf(layer))
    layers.set(layer, { caches, rows: 0 })
    return caches
  }

  wrote(sequence: number, layer: number, rows: number): void {
    const kept = this.#all.get(sequence)?.layers.get(layer)
    if (kept) kept.rows = rows
  }

  /** What shortens it from now on takes effect at the end. */
  begin(sequence: number): void {
    this.#use(sequence).running = true
  }

  end(sequence: number): void {
    const state = this.#all.get(sequence)
    if (!state) return
    const { limit } = state
    state.running = false
    state.limit = Infinity
    this.truncate(sequence, limit)
  }

  /** A layer that cannot go back forgets all its rows. */
  truncate(sequence: number, length: number): void {
    const state = this.#all.get(sequence)
    if (!state) return
    if (state.running) {
      state.limit = Math.min(state.limit, length)
      return
    }
    for (const layer of state.layers.keys()) this.cut(sequence, layer, length)
    if (state.layers.size === 0) this.#all.delete(sequence)
  }

  /** Truncates one layer, also during a run. */
  cut(sequence: number, layer: number, length: number): void {
    const layers = this.#all.get(sequence)?.layers
    const kept = layers?.get(layer)
    if (!kept || (kept.rows <= length && kept.rows > 0)) return
    const canGoBack = this.#parts.cachesOf(layer).every(({ axis }) => axis !== null)
    if (length > 0 && kept.rows > 0 && canGoBack) kept.rows = length
    else {
      layers?.delete(layer)
      kept.caches.dispose()
    }
  }

  /** Frees the caches of the layers that nobody needs. */
  keepOnly(layers: ReadonlySet<number>): void {
    for (const [sequence, state] of this.#all) {
      for (const layer of state.layers.keys())
        if (!layers.has(layer)) this.cut(sequence, layer, 0)
      if (state.layers.size === 0 && !state.running) this.#all.delete(sequence)
    }
  }

  bytes(): number {
    let sum = 0
    for (const { layers } of this.#all.values())
      for (const { caches } of layers.values()) sum += caches.bytes()
    return sum
  }

  #use(sequence: number): Sequence<Caches> {
    const known = this.#all.get(sequence)
    if (known) return known
    const fresh = {
      layers: new Map<number, Kept<Caches>>(),
      running: false,
      limit: Infinity,
    }
    this.#all.set(sequence, fresh)
    return fresh
  }
}
