/** What the checks of an engine are made of: a chain of spans, and how results compare. */
import type { Manifest } from '../../model-split/manifest.ts'
import { inputsOf, type Span } from '../../model-split/span.ts'
import { relativeError } from './golden.ts'
import { toNumbers } from './tensors.ts'
import { StageError, type Engine, type ShardReader } from './types.ts'
import type { StageErrorCode, Step, TensorData, WeightMode } from './types.ts'

export interface CutModel {
  readonly manifest: Manifest
  readonly reader: ShardReader
}

export interface SuiteOptions {
  readonly create: () => Promise<Engine>
  readonly model: CutModel
  readonly mode: WeightMode
  /** Relative error against the golden states (see canary.ts). */
  readonly tolerance: number
  /** Relative error between two runs of the same engine that differ in the size of steps. */
  readonly ownTolerance: number
}

export interface EngineCheck {
  readonly name: string
  /** Throws where the engine falls short. */
  readonly run: () => Promise<void>
}

/** One span of a chain, where it is loaded. */
export interface Link {
  readonly engine: Engine
  readonly layout: number
  /** Its index in the layout. */
  readonly index: number
  readonly span: Span
}

export function linksOf(engine: Engine, layout: number, spans: readonly Span[]): Link[] {
  return spans.map((span, index) => ({ engine, layout, index, span }))
}

/** Runs spans one after another, as a ring would. */
export class Chain {
  readonly manifest: Manifest
  readonly links: readonly Link[]

  constructor(manifest: Manifest, links: readonly Link[]) {
    this.manifest = manifest
    this.links = links
  }

  /** Logits of the last of the new rows, or of every one. */
  async logits(...rows: Parameters<typeof newRows>): Promise<TensorData> {
    const known = new Map<string, TensorData>()
    for (const link of this.links) {
      const step = this.#step(link, newRows(...rows), known)
      for (const [name, tensor] of await link.engine.run(step)) known.set(name, tensor)
    }
    return this.#logitsOf(known)
  }

  /** The same of several sequences, which go through each span together. */
  async together(all: readonly NewRows[]): Promise<TensorData[]> {
    const known = all.map(() => new Map<string, TensorData>())
    for (const link of this.links) {
      const steps = all.map((rows, i) => this.#step(link, rows, known[i]))
      const found = await Promise.all(link.engine.runTogether(steps))
      for (const [i, outputs] of found.entries())
        for (const [name, tensor] of outputs) known[i]?.set(name, tensor)
    }
    return known.map((tensors) => this.#logitsOf(tensors))
  }

  async generate(
    sequence: number,
    prompt: readonly number[],
    count: number,
  ): Promise<number[]> {
    const ids = [...prompt]
    let logits = await this.logits(sequence, 0, ids)
    for (let i = 0; i < count; i++) {
      ids.push(argmax(logits))
      logits = await this.logits(sequence, ids.length - 1, ids.slice(-1))
    }
    return ids.slice(prompt.length)
  }

  #step(
    { layout, index, span }: Link,
    { sequence, position, ids, everyRow }: NewRows,
    known?: ReadonlyMap<string, TensorData>,
  ): Step {
    const inputs = new Map<string, TensorData>()
    for (const name of inputsOf(this.manifest, span)) {
      const tensor = known?.get(name)
      if (tensor) inputs.set(name, tensor)
    }
    const place = { layout, span: index, sequence, position, rows: ids.length }
    return { ...place, ids, inputs, everyRow }
  }

  #logitsOf(known: ReadonlyMap<string, TensorData>): TensorData {
    const logits = known.get(this.manifest.logits.name)
    if (!logits) throw new Error('no logits')
    return logits
  }
}

export interface NewRows {
  readonly sequence: number
  readonly position: number
  readonly ids: readonly number[]
  readonly everyRow: boolean
}

export function newRows(
  sequence: number,
  position: number,
  ids: readonly number[],
  everyRow = false,
): NewRows {
  return { sequence, position, ids, everyRow }
}

export function promptOf({ vocabulary }: Manifest, length: number): number[] {
  return Array.from({ length }, (_, i) => 1 + ((i * 7919 + 13) % (vocabulary - 1)))
}

export function canTruncate(manifest: Manifest): boolean {
  return manifest.segments.every(({ caches }) =>
    caches.every(({ axis }) => axis !== null),
  )
}

export function argmax(logits: TensorData): number {
  const values = toNumbers(logits)
  let best = 0
  for (let i = 1; i < values.length; i++)
    if ((values[i] ?? NaN) > (values[best] ?? NaN)) best = i
  return best
}

export function near(actual: TensorData, expected: TensorData, tolerance: number): void {
  const error = relativeError(actual, expected)
  if (!(error <= tolerance))
    throw new Error(`off by ${error} where ${tolerance} is allowed`)
}

export function equal(actual: unknown, expected: unknown, what: string): void {
  if (actual !== expected)
    throw new Error(`${what}: ${String(actual)} is not ${String(expected)}`)
}

export async function refused(
  code: StageErrorCode,
  work: () => Promise<unknown>,
): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof StageError)) throw error
    equal(error.code, code, `kind of "${error.message}"`)
    if (!/^\S.*\.$/.test(error.message))
      throw new Error(`no sentence: "${error.message}"`)
    return
  }
  throw new Error(`${code} was not refused`)
}
