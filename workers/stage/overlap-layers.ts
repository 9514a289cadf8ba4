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

interface Run {
  readonly span: Span
  readonly layout: number
}

export class OverlapLayers {
  readonly #parts: StageParts
  #engine: Engine | null = null
  #runs: readonly Run[] = []

  constructor(parts: StageParts) {
    this.#parts = parts
  }

  get layers(): number[] {
    return this.#runs
      .flatMap(({ span: { from, to } }) =>
        Array.from({ length: to - from }, (_, i) => from + i),
      )
      .sort((a, b) => a - b)
  }

  /** Spans that rest in this engine. */
  in(engine: Engine | undefined): Span[] {
    return engine === this.#engine ? this.#runs.map(({ span }) => span) : []
  }

  /**
   * Holds these layers in the engine of the part that runs, as far as its memory allows, and
   * no others. Not to be called twice at a time.
   * @throws Error where some cannot be loaded; what was loaded before stays.
   */
  async hold(
    layers: readonly number[],
    { engine, report, spans }: LoadedPart,
    options: OpenOptions,
    signal: AbortSignal,
  ): Promise<void> {
    if (engine !== this.#engine) await this.drop()
    this.#engine = engine
    const wanted = runsOf(layers)
    const stays = ({ span }: Run) => wanted.some((run) => isSame(run, span))
    await this.#unload(this.#runs.filter((run) => !stays(run)))
    const { manifest, memoryBudget } = options
    const { kind } = engine
    for (const span of wanted) {
      signal.throwIfAborted()
      if (this.#runs.some((run) => isSame(run.span, span))) continue
      const { weights, caches } = engine.memory()
      const there = [...spans, ...this.in(engine)]
      const bytes = addedBytes(manifest, report.mode, [span], there)
      if (weights + caches + bytes > memoryBudget) return
      const watch = { onProgress: () => undefined, signal }
      const choice = { kind, mode: report.mode, engine, dormant: true }
      const { layout } = await loadLayouts(this.#parts, options, [span], watch, choice)
      this.#runs = [...this.#runs, { span, layout }]
    }
  }

  async drop(): Promise<void> {
    await this.#unload(this.#runs)
  }

  /** The engine was released, or is lost. */
  forget(): void {
    this.#engine = null
    this.#runs = []
  }

  async #unload(gone: readonly Run[]): Promise<void> {
    this.#runs = this.#runs.filter((run) => !gone.includes(run))
    // A processor that is lost may not even let go.
    for (const { layout } of gone)
      await this.#engine?.unload(layout).catch(() => undefined)
  }
}

/** Consecutive layers as spans. */
export function runsOf(layers: readonly number[]): Span[] {
  const runs: Span[] = []
  for (const layer of layers) {
    const last = runs.at(-1)
    if (last?.to === layer) runs[runs.length - 1] = { ...last, to: layer + 1 }
    else runs.push({ from: layer, to: layer + 1, embed: false, head: false })
  }
  return runs
}

function isSame(a: Span, b: Span): boolean {
  return a.from === b.from && a.to === b.to
}
