/**
 * Layers that rest beside those that run: their weights are in the engine's memory, so that a
 * plan which gives them to this device moves them without loading. They run in no lap and have
 * no caches, and are the first to go where memory is needed.
 */
import type { Span } from '../../model-split/span.ts'
import type { OpenOptions } from './api.ts'
import { loadLayouts, type StageParts } from './load-layouts.ts'
import type { LoadedPart } from './load-part.ts'
import type { Engine } from './types.ts'
import { addedBytes } from './weight-modes.ts'

export class OverlapLayers {
  readonly #parts: StageParts
  #engine: Engine | null = null
  /** Layout of each layer. */
  #layouts: ReadonlyMap<number, number> = new Map()

  constructor(parts: StageParts) {
    this.#parts = parts
  }

  get layers(): number[] {
    return [...this.#layouts.keys()].sort((a, b) => a - b)
  }

  /** Spans that rest in this engine. */
  in(engine: Engine | undefined): Span[] {
    return engine === this.#engine ? this.layers.map(spanOf) : []
  }

  /**
   * Holds these layers in the engine of the part that runs, as far as its memory allows, and
   * no others; the nearest to its spans first. Not to be called twice at a time.
   * @param quiet resolves once nobody waits for this device: one layer at a time is loaded then.
   * @throws Error where some cannot be loaded; what was loaded before stays.
   */
  async hold(
    layers: readonly number[],
    { engine, report, spans }: LoadedPart,
    options: OpenOptions,
    quiet: () => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    if (engine !== this.#engine) await this.drop()
    this.#engine = engine
    await this.#unload(this.layers.filter((layer) => !layers.includes(layer)))
    const { manifest, memoryBudget } = options
    const { kind } = engine
    const far = (layer: number) =>
      Math.min(
        ...spans.map(({ from, to }) => (layer < from ? from - layer : layer - to + 1)),
      )
    for (const layer of layers.toSorted((a, b) => far(a) - far(b))) {
      if (this.#layouts.has(layer)) continue
      await quiet()
      signal.throwIfAborted()
      const span = spanOf(layer)
      const { weights, caches } = engine.memory()
      const there = [...spans, ...this.in(engine)]
      const bytes = addedBytes(manifest, report.mode, [span], there)
      if (weights + caches + bytes > memoryBudget) return
      const watch = { onProgress: () => undefined, signal }
      const choice = { kind, mode: report.mode, engine, dormant: true }
      const { layout } = await loadLayouts(this.#parts, options, [span], watch, choice)
      this.#layouts = new Map([...this.#layouts, [layer, layout]])
    }
  }

  async drop(): Promise<void> {
    await this.#unload(this.layers)
  }

  /** The engine was released, or is lost. */
  forget(): void {
    this.#engine = null
    this.#layouts = new Map()
  }

  async #unload(gone: readonly number[]): Promise<void> {
    const layouts = gone.flatMap((layer) => this.#layouts.get(layer) ?? [])
    const rest = [...this.#layouts].filter(([layer]) => !gone.includes(layer))
    this.#layouts = new Map(rest)
    // A processor that is lost may not even let go.
    for (const layout of layouts)
      await this.#engine?.unload(layout).catch(() => undefined)
  }
}

function spanOf(layer: number): Span {
  return { from: layer, to: layer + 1, embed: false, head: false }
}
