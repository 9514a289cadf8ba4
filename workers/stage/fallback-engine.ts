/**
 * An engine whose device may fail for good while it serves, as a graphics chip does when its
 * driver restarts: another engine then takes its place. Caches are gone with the device, which
 * the run that met the failure tells as a `gap`: the ring reads the chat again, and its answer
 * goes on.
 */
import { StageError, type Engine, type EngineKind, type LoadOptions } from './types.ts'
import type { Step, TensorData, WeightMode } from './types.ts'

export interface FallbackOptions {
  readonly first: Engine
  /** What `first` has loaded already. */
  readonly layouts: readonly LoadOptions[]
  /** Another engine with these layouts, checked; it keeps weights its own way. */
  readonly replace: (layouts: readonly LoadOptions[]) => Promise<Replacement>
  /** Once it serves. */
  readonly onReplaced: (mode: WeightMode) => void
}

export interface Replacement {
  readonly engine: Engine
  readonly mode: WeightMode
}

export class FallbackEngine implements Engine {
  readonly #options: FallbackOptions
  readonly #layouts: Map<number, LoadOptions>
  #inner: Engine
  /** Of the replacement. */
  #mode: WeightMode | null = null
  #replacing: Promise<void> | null = null
  #released = false

  constructor(options: FallbackOptions) {
    this.#options = options
    this.#inner = options.first
    this.#layouts = new Map(options.layouts.map((each) => [each.layout, each]))
  }

  get kind(): EngineKind {
    return this.#inner.kind
  }

  async load(options: LoadOptions): Promise<void> {
    await this.#replacing
    await this.#inner.load({ ...options, mode: this.#mode ?? options.mode })
    this.#layouts.set(options.layout, options)
  }

  async unload(layout: number): Promise<void> {
    await this.#replacing
    this.#layouts.delete(layout)
    await this.#inner.unload(layout)
  }

  async run(step: Step): Promise<Map<string, TensorData>> {
    await this.#replacing
    const inner = this.#inner
    try {
      return await inner.run(step)
    } catch (error) {
      if (inner !== this.#options.first) throw error
      if (!this.#replacing && !isFinal(error)) throw error
      this.#replacing ??= this.#replace(error)
      await this.#replacing
      throw new StageError(
        'gap',
        'The graphics chip stopped working; the processor reads this chat again.',
        { cause: error },
      )
    }
  }

  /** The device that may fail computes one after another. */
  get batches(): boolean {
    return this.#inner !== this.#options.first && this.#inner.batches
  }

  runTogether(steps: readonly Step[]): Promise<Map<string, TensorData>>[] {
    if (this.batches) return this.#inner.runTogether(steps)
    return steps.map((step) => this.run(step))
  }

  length(sequence: number, layout: number): number {
    return this.#inner.length(sequence, layout)
  }

  truncate(sequence: number, length: number): void {
    this.#inner.truncate(sequence, length)
  }

  drop(sequence: number): void {
    this.#inner.drop(sequence)
  }

  rows(sequence: number, layer: number): number {
    return this.#inner.rows(sequence, layer)
  }

  exportRows(...args: Parameters<Engine['exportRows']>): Promise<TensorData[]> {
    return this.#inner.exportRows(...args)
  }

  importRows(...args: Parameters<Engine['importRows']>): Promise<void> {
    return this.#inner.importRows(...args)
  }

  memory(): { weights: number; caches: number } {
    return this.#inner.memory()
  }

  async release(): Promise<void> {
    this.#released = true
    await this.#replacing?.catch(() => undefined)
    await this.#inner.release()
  }

  async #replace(cause: unknown): Promise<void> {
    const { first, replace, onReplaced } = this.#options
    // It cannot be waited for: a lost device may never answer.
    void first.release().catch(() => undefined)
    let next: Replacement
    try {
      next = await replace([...this.#layouts.values()])
    } catch {
      // What was lost says more than why nothing replaces it.
      throw cause
    }
    this.#inner = next.engine
    this.#mode = next.mode
    if (!this.#released) onReplaced(next.mode)
  }
}

/** Whether the device will not compute rightly again. */
function isFinal(error: unknown): boolean {
  const code = error instanceof StageError ? error.code : null
  return code === 'device-lost' || code === 'wrong-result'
}
