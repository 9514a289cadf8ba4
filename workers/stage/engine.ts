/** The engine: holds layouts, checks steps, keeps the sequences. Runtimes are backends. */
import type { BorderTensor, Manifest } from '../../model-split/manifest.ts'
import { inputsOf, outputsOf, type Span } from '../../model-split/span.ts'
import type { Backend, HeldTensor, LayerCaches } from './backend.ts'
import type { Batch } from './batch.ts'
import { checkRows, copiesRows } from './moved-rows.ts'
import { PartStore, type Part } from './parts.ts'
import { RunTensors } from './run-tensors.ts'
import { Sequences } from './sequences.ts'
import { fillFeed } from './session-inputs.ts'
import { asStageError, Mutex, withDeadline } from './stage-errors.ts'
import { checkTensor, dimsFor, rowAxis, type RunSize } from './tensors.ts'
import { StageError, type Engine, type EngineKind, type LoadOptions } from './types.ts'
import type { Step, TensorData, WeightMode } from './types.ts'

/** A phone that needs longer than this to load its span is not worth waiting for. */
const LOAD_DEADLINE_MS = 180_000
/** One sequence per run; the shapes are ready for more. */
const BATCH = 1
/** Axis of `[…, rows, vocabulary]`, from the end. */
const ROWS_OF_LOGITS = -2

interface LoadedSpan<Kept, Held> {
  readonly span: Span
  readonly parts: readonly Part<Kept, Held>[]
  /** Per part, what no later one reads and nobody wants afterwards. */
  readonly spent: readonly (readonly string[])[]
  readonly inputs: readonly (readonly [string, BorderTensor])[]
  readonly outputs: readonly string[]
  /** With caches. */
  readonly layers: readonly number[]
}

interface Layout<Kept, Held> {
  readonly dormant: boolean
  readonly spans: readonly LoadedSpan<Kept, Held>[]
  /** With caches, of all spans. */
  readonly layers: readonly number[]
}

interface Model {
  readonly manifest: Manifest
  readonly mode: WeightMode
}

export interface EngineOptions {
  readonly loadDeadlineMs?: number
}

export class StageEngine<
  Kept extends LayerCaches,
  Held extends HeldTensor,
> implements Engine {
  readonly kind: EngineKind
  readonly #backend: Backend<Kept, Held>
  readonly #deadline: number
  readonly #store: PartStore<Kept, Held>
  readonly #layouts = new Map<number, Layout<Kept, Held>>()
  readonly #sequences: Sequences<Kept>
  /** Runs, copies and unloading: one at a time. */
  readonly #work = new Mutex()
  #model: Model | null = null

  constructor(backend: Backend<Kept, Held>, options: EngineOptions = {}) {
    this.kind = backend.kind
    this.#backend = backend
    this.#deadline = options.loadDeadlineMs ?? LOAD_DEADLINE_MS
    this.#store = new PartStore(backend)
    this.#sequences = new Sequences({
      cachesOf: (layer) => this.#model?.manifest.segments[layer + 1]?.caches ?? [],
      create: (caches) => backend.caches(caches),
    })
  }

  async load(options: LoadOptions): Promise<void> {
    const { layout, manifest, mode, dormant = false, signal } = options
    const model = (this.#model ??= { manifest, mode })
    if (this.#layouts.has(layout))
      throw new StageError('internal', 'This engine holds that plan already.')
    if (model.manifest !== manifest || model.mode !== mode)
      throw new StageError('internal', 'This engine holds another model already.')
    const stop = new AbortController()
    const work = this.#open(options, stop.signal)
    try {
      const spans = await withDeadline(work, { ms: this.#deadline, signal })
      const layers = spans.flatMap((span) => span.layers)
      this.#layouts.set(layout, { dormant, spans, layers })
    } catch (error) {
      stop.abort()
      // What arrives too late is let go as soon as it is there.
      work.then((spans) => this.#release(spans)).catch(() => undefined)
      throw asStageError(error, 'load')
    }
  }

  unload(layout: number): Promise<void> {
    return this.#work.run(async () => {
      const gone = this.#layouts.get(layout)
      if (!gone) return
      this.#layouts.delete(layout)
      const needed = [...this.#layouts.values()].filter(({ dormant }) => !dormant)
      this.#sequences.keepOnly(new Set(needed.flatMap(({ layers }) => layers)))
      await this.#release(gone.spans)
    })
  }

  run(step: Step): Promise<Map<string, TensorData>> {
    return this.#work.run(() => this.#run(step))
  }

  get batches(): boolean {
    return this.#batch(1) !== null
  }

  runTogether(steps: readonly Step[]): Promise<Map<string, TensorData>>[] {
    const batch = isBatch(steps) ? this.#batch(steps.length) : null
    if (!batch) return steps.map((step) => this.run(step))
    const runs = this.#work.run(() =>
      Promise.allSettled(
        steps.map((step) =>
          this.#run(step, batch).finally(() => {
            batch.leave()
          }),
        ),
      ),
    )
    return steps.map(async (_, i) => {
      const run = (await runs)[i]
      if (run?.status === 'fulfilled') return run.value
      throw asStageError(run?.reason, 'run')
    })
  }

  length(sequence: number, layout: number): number {
    const layers = this.#layouts.get(layout)?.layers ?? []
    return layers.length > 0 ? this.#least(sequence, layers) : 0
  }

  rows(sequence: number, layer: number): number {
    return this.#sequences.rows(sequence, layer)
  }

  truncate(sequence: number, length: number): void {
    this.#sequences.truncate(sequence, Math.max(0, length))
  }

  drop(sequence: number): void {
    this.#sequences.truncate(sequence, 0)
  }

  exportRows(
    sequence: number,
    layer: number,
    from: number,
    to: number,
  ): Promise<TensorData[]> {
    return this.#work.run(async () => {
      const caches = this.#cachesOf(layer)
      const here = this.rows(sequence, layer)
      if (!isRange(from, to)) throw badInput('Rows that cannot be were asked for')
      const kept = this.#sequences.caches(sequence, layer)
      if (!kept || to > here || (to < here && !copiesRows(caches)))
        throw new StageError(
          'gap',
          `Rows up to ${to} of this chat are not here any more.`,
        )
      try {
        return await kept.read(from, to)
      } catch (error) {
        throw asStageError(error, 'run')
      }
    })
  }

  importRows(
    sequence: number,
    layer: number,
    from: number,
    rows: number,
    tensors: readonly TensorData[],
  ): Promise<void> {
    return this.#work.run(async () => {
      const caches = this.#cachesOf(layer)
      const { context } = this.#model?.manifest ?? { context: 0 }
      const to = from + rows
      if (!isRange(from, to) || rows === 0 || (context > 0 && to > context))
        throw badInput('Rows that cannot be were sent')
      checkRows(caches, rows, tensors)
      const here = this.rows(sequence, layer)
      if (from > here)
        throw new StageError('gap', `Rows ${here} to ${from} of this chat are missing.`)
      this.#sequences.begin(sequence)
      try {
        await this.#sequences.open(sequence, layer).write(from, rows, tensors)
        this.#sequences.wrote(sequence, layer, to)
      } catch (error) {
        this.#sequences.cut(sequence, layer, from)
        throw asStageError(error, 'run')
      } finally {
        this.#sequences.end(sequence)
      }
    })
  }

  memory(): { weights: number; caches: number } {
    return { weights: this.#store.weights, caches: this.#sequences.bytes() }
  }

  release(): Promise<void> {
    return this.#work.run(async () => {
      const layouts = [...this.#layouts.values()]
      this.#layouts.clear()
      this.#sequences.keepOnly(new Set())
      for (const { spans } of layouts) await this.#release(spans)
      await this.#backend.close()
    })
  }

  async #open(
    options: LoadOptions,
    signal: AbortSignal,
  ): Promise<LoadedSpan<Kept, Held>[]> {
    const { manifest, spans } = options
    this.#backend.check?.(manifest)
    const parts = await this.#store.load(options, signal)
    return spans.map((span, i) => loadedSpan(manifest, span, parts[i] ?? []))
  }

  async #release(spans: readonly LoadedSpan<Kept, Held>[]): Promise<void> {
    for (const { parts } of spans) await this.#store.release(parts)
  }

  #batch(runs: number): Batch | null {
    return (this.#model && this.#backend.batch?.(this.#model.mode, runs)) ?? null
  }

  async #run(step: Step, batch: Batch | null = null): Promise<Map<string, TensorData>> {
    const { manifest, span, size } = this.#check(step)
    const { sequence } = step
    const sequences = this.#sequences
    sequences.begin(sequence)
    try {
      const found = await this.#runParts(manifest, span, step, { size, batch })
      for (const layer of span.layers)
        sequences.wrote(sequence, layer, size.past + size.rows)
      return found
    } catch (error) {
      for (const layer of span.layers) {
        // Some have run, and none may be ahead of the others.
        if (sequences.rows(sequence, layer) > 0)
          sequences.wrote(sequence, layer, size.past + size.rows)
        sequences.cut(sequence, layer, size.past)
      }
      throw asStageError(error, 'run')
    } finally {
      sequences.end(sequence)
    }
  }

  /** Only what is wanted leaves the runtime. */
  async #runParts(
    manifest: Manifest,
    span: LoadedSpan<Kept, Held>,
    { sequence, inputs: given, ids, everyRow }: Step,
    { size, batch }: { readonly size: RunSize; readonly batch: Batch | null },
  ): Promise<Map<string, TensorData>> {
    const { tensors } = this.#backend
    const known = new RunTensors(tensors)
    try {
      for (const [name, { dtype, dims }] of span.inputs) {
        const shape = dimsFor(dims, size)
        known.upload(name, checkTensor(name, given.get(name), dtype, shape))
      }
      for (const [index, part] of span.parts.entries()) {
        const { linked, session, layers } = part
        const narrow = part.lastRowOnly && !everyRow
        for (const [name, feed] of Object.entries(linked.feeds))
          if (!known.has(name)) known.upload(name, fillFeed(name, feed, size, ids))
        const inputs = new Map<string, Held>()
        for (const name of Object.keys(linked.feeds)) inputs.set(name, known.get(name))
        for (const [name, { dims }] of Object.entries(linked.inputs)) {
          const axis = narrow ? rowAxis(dims) : null
          inputs.set(name, axis === null ? known.get(name) : known.last(name, axis))
        }
        const kept = layers.map((layer) => this.#sequences.open(sequence, layer))
        const rows = narrow ? lastRow(size) : size
        const outputs = await session.run({ inputs, kept, size: rows, batch })
        for (const [name, tensor] of outputs) known.add(name, tensor)
        for (const name of span.spent[index] ?? []) known.drop(name)
      }
      const found = new Map<string, TensorData>()
      for (const name of span.outputs) {
        const oneRow = name === manifest.logits.name && !everyRow
        const tensor = oneRow ? known.last(name, ROWS_OF_LOGITS) : known.get(name)
        found.set(name, await tensors.download(tensor))
      }
      return found
    } finally {
      known.dispose()
    }
  }

  /** Of a layer that some layout has. @throws StageError `bad-input` */
  #cachesOf(layer: number): Manifest['segments'][number]['caches'] {
    const here = [...this.#layouts.values()].some(({ layers }) => layers.includes(layer))
    const caches = this.#model?.manifest.segments[layer + 1]?.caches
    if (!here || !caches) throw badInput('This device does not run that layer')
    return caches
  }

  #least(sequence: number, layers: readonly number[]): number {
    return Math.min(...layers.map((layer) => this.#sequences.rows(sequence, layer)))
  }

  /** Refuses what cannot run, before anything is computed. */
  #check(step: Step): {
    manifest: Manifest
    span: LoadedSpan<Kept, Held>
    size: RunSize
  } {
    const layout = this.#layouts.get(step.layout)
    const span = layout?.spans[step.span]
    const manifest = this.#model?.manifest
    if (!manifest || !layout || !span)
      throw badInput('This device does not run that part of the model')
    const { position, rows, sequence } = step
    if (!isRange(position, position + rows) || rows === 0)
      throw badInput('A step without rows or with a wrong position was asked for')
    if (manifest.context > 0 && position + rows > manifest.context)
      throw badInput(
        `This chat is longer than the ${manifest.context} tokens the model can read`,
      )
    if (step.ids?.some((id) => id >= manifest.vocabulary))
      throw badInput('A token id is not in the vocabulary of the model')
    const size = { batch: BATCH, rows, past: position }
    if (span.layers.length === 0) return { manifest, span, size }
    const before = this.#least(sequence, span.layers)
    if (position > before)
      throw new StageError(
        'gap',
        `Rows ${before} to ${position} of this chat are missing here; they are sent again.`,
      )
    if (position < this.#least(sequence, layout.layers))
      this.#sequences.truncate(sequence, position)
    for (const layer of span.layers) this.#sequences.cut(sequence, layer, position)
    if (position > this.#least(sequence, span.layers))
      throw new StageError(
        'gap',
        'This model cannot take back single words; the chat is read again from its start.',
      )
    return { manifest, span, size }
  }
}

function loadedSpan<Kept, Held>(
  manifest: Manifest,
  span: Span,
  parts: readonly Part<Kept, Held>[],
): LoadedSpan<Kept, Held> {
  const inputs = inputsOf(manifest, span).flatMap((name) => {
    const tensor = manifest.tensors[name]
    return tensor ? [[name, tensor] as const] : []
  })
  const borders = outputsOf(manifest, span)
  const outputs = span.head ? [...borders, manifest.logits.name] : borders
  const reads = parts.map(({ linked: { feeds, inputs } }) => [
    ...Object.keys(feeds),
    ...Object.keys(inputs),
  ])
  const spent = reads.map((names, index) => {
    const later = new Set([...outputs, ...reads.slice(index + 1).flat()])
    return names.filter((name) => !later.has(name))
  })
  const layers = parts.flatMap((part) => part.layers)
  return { span, parts, spent, inputs, outputs, layers }
}

/** Whether steps can run side by side: the same span of different sequences. */
function isBatch([first, ...others]: readonly Step[]): boolean {
  const sequences = new Set([first, ...others].map((step) => step?.sequence))
  return (
    sequences.size > 1 &&
    sequences.size === 1 + others.length &&
    others.every(({ layout, span }) => layout === first?.layout && span === first.span)
  )
}

function lastRow({ batch, rows, past }: RunSize): RunSize {
  return { batch, rows: 1, past: past + rows - 1 }
}

function isRange(from: number, to: number): boolean {
  return Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 0 && to >= from
}

function badInput(what: string): StageError {
  return new StageError('bad-input', `${what}; ask again.`)
}
