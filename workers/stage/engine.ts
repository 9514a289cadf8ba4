/** The engine: loads spans, checks steps, keeps the sequences. Runtimes are backends. */
import { link, type LinkedSpan } from '../../model-split/link/link.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import { outputsOf, type Span } from '../../model-split/span.ts'
import type { Backend, BackendSession } from './backend.ts'
import { divide } from './divide.ts'
import { fillFeed } from './session-inputs.ts'
import { sliceLean } from './slice-lean.ts'
import { asStageError, withDeadline } from './stage-errors.ts'
import { TiedSession, tiedEnds } from './tied.ts'
import { checkTensor, dimsFor, rowAxis, slice, type RunSize } from './tensors.ts'
import { StageError, type Engine, type EngineKind, type LoadOptions } from './types.ts'
import type { Step, TensorData, WeightMode } from './types.ts'
import { assembleWeights } from './weights.ts'

/** A phone that needs longer than this to load its span is not worth waiting for. */
const LOAD_DEADLINE_MS = 180_000
/** One sequence per run; the shapes are ready for more. */
const BATCH = 1

interface Part<Kept> {
  readonly linked: LinkedSpan
  readonly session: BackendSession<Kept>
  /** Rows do not depend on each other here: the last one is enough. */
  readonly lastRowOnly: boolean
}

interface LoadedSpan<Kept> {
  readonly span: Span
  readonly parts: readonly Part<Kept>[]
  readonly outputs: readonly string[]
  readonly hasCaches: boolean
  /** False where a recurrent state cannot go back. */
  readonly canTruncate: boolean
  readonly sequences: Map<number, Sequence<Kept>>
}

/** What one span keeps of one sequence. */
interface Sequence<Kept> {
  length: number
  /** `dropped` while running: its caches are freed when the run is over. */
  state: 'idle' | 'running' | 'dropped'
  readonly caches: (Kept | null)[]
}

interface Loaded<Kept> {
  readonly layout: number
  readonly manifest: Manifest
  readonly spans: readonly LoadedSpan<Kept>[]
  readonly weights: number
}

export interface EngineOptions {
  readonly loadDeadlineMs?: number
}

export class StageEngine<Kept> implements Engine {
  readonly kind: EngineKind
  readonly #backend: Backend<Kept>
  readonly #deadline: number
  #loaded: Loaded<Kept> | null = null

  constructor(backend: Backend<Kept>, options: EngineOptions = {}) {
    this.kind = backend.kind
    this.#backend = backend
    this.#deadline = options.loadDeadlineMs ?? LOAD_DEADLINE_MS
  }

  async load(options: LoadOptions): Promise<void> {
    if (this.#loaded)
      throw new StageError('internal', 'This engine holds a model already.')
    const stop = new AbortController()
    const work = this.#open(options, stop.signal)
    try {
      const { signal } = options
      this.#loaded = await withDeadline(work, { ms: this.#deadline, signal })
    } catch (error) {
      stop.abort()
      // What arrives too late is let go as soon as it is there.
      work.then(releaseAll).catch(() => undefined)
      throw asStageError(error, 'load')
    }
  }

  async run(step: Step): Promise<Map<string, TensorData>> {
    const { manifest, span, size } = this.#check(step)
    const sequence: Sequence<Kept> = span.sequences.get(step.sequence) ?? {
      length: 0,
      state: 'idle',
      caches: span.parts.map(() => null),
    }
    if (sequence.state === 'running')
      throw new StageError('internal', 'This chat is being worked on already; try again.')
    span.sequences.set(step.sequence, sequence)
    sequence.state = 'running'
    let reached = Math.min(sequence.length, size.past)
    try {
      const known = await this.#runParts(manifest, span, sequence, step, size)
      reached = size.past + size.rows
      return pick(known, span.outputs)
    } catch (error) {
      throw asStageError(error, 'run')
    } finally {
      sequence.length = reached
      if (isDropped(sequence)) disposeAll(span, sequence)
      else {
        sequence.state = 'idle'
        if (reached === 0) forget(span, step.sequence)
      }
    }
  }

  /** All tensors known after the last part. */
  async #runParts(
    manifest: Manifest,
    span: LoadedSpan<Kept>,
    sequence: Sequence<Kept>,
    step: Step,
    size: RunSize,
  ): Promise<Map<string, TensorData>> {
    const known = new Map(step.inputs)
    for (const [i, part] of span.parts.entries()) {
      const { linked, session } = part
      const narrow = part.lastRowOnly && !step.everyRow
      const inputs = inputsFor(manifest, linked, known, size, { ids: step.ids, narrow })
      const kept = sequence.caches[i] ?? null
      const rows = narrow ? lastRow(size) : size
      const result = await session.run({ inputs, kept, size: rows })
      sequence.caches[i] = result.kept
      for (const [name, tensor] of result.outputs)
        known.set(
          name,
          name === linked.logits && !step.everyRow ? lastOf(tensor) : tensor,
        )
    }
    return known
  }

  length(sequence: number, layout: number): number {
    const spans = this.#loaded?.layout === layout ? this.#loaded.spans : []
    const cached = spans.filter((span) => span.hasCaches)
    if (cached.length > 0)
      return Math.min(...cached.map((span) => span.sequences.get(sequence)?.length ?? 0))
    return Math.max(0, ...spans.map((span) => span.sequences.get(sequence)?.length ?? 0))
  }

  async unload(layout: number): Promise<void> {
    const loaded = this.#loaded
    if (loaded?.layout !== layout) return
    this.#loaded = null
    await releaseAll(loaded)
  }

  rows(sequence: number, layer: number): number {
    for (const { span, sequences } of this.#loaded?.spans ?? [])
      if (layer >= span.from && layer < span.to)
        return sequences.get(sequence)?.length ?? 0
    return 0
  }

  exportRows(): Promise<TensorData[]> {
    return Promise.reject(new StageError('internal', 'This engine copies no rows yet.'))
  }

  importRows(): Promise<void> {
    return Promise.reject(new StageError('internal', 'This engine copies no rows yet.'))
  }

  truncate(sequence: number, length: number): void {
    for (const span of this.#loaded?.spans ?? []) truncate(span, sequence, length)
  }

  drop(sequence: number): void {
    for (const span of this.#loaded?.spans ?? []) forget(span, sequence)
  }

  memory(): { weights: number; caches: number } {
    let caches = 0
    for (const { parts, sequences } of this.#loaded?.spans ?? [])
      for (const sequence of sequences.values())
        parts.forEach(({ session }, i) => {
          const kept = sequence.caches[i]
          if (kept) caches += session.bytes(kept)
        })
    return { weights: this.#loaded?.weights ?? 0, caches }
  }

  async release(): Promise<void> {
    const loaded = this.#loaded
    this.#loaded = null
    if (loaded) await releaseAll(loaded)
    await this.#backend.close()
  }

  async #open(options: LoadOptions, signal: AbortSignal): Promise<Loaded<Kept>> {
    const { manifest, reader, mode, onProgress } = options
    this.#backend.check?.(manifest)
    const graph = await reader.file(manifest.graph.file)
    const ends = this.kind === 'wasm' ? tiedEnds(manifest, options.spans, mode) : null
    const parts = options.spans.map((span) =>
      this.#divide(manifest, span, mode, ends !== null).map((part) =>
        link(manifest, graph, part, mode),
      ),
    )
    const [embed, head] = [parts[0]?.[0], parts.at(-1)?.at(-1)]
    const both =
      ends && embed && head ? link(manifest, graph, [ends.embed, ends.head], mode) : null
    const sum = (list: readonly LinkedSpan[], form?: WeightMode): number =>
      list.reduce((total, part) => total + bytesOf(manifest, part, form), 0)
    const apart = parts
      .flat()
      .filter((part) => !both || (part !== embed && part !== head))
    let totalBytes = sum(both ? [both, ...apart] : apart)
    let loadedBytes = 0
    const onShard = (bytes: number): void => {
      loadedBytes += bytes
      onProgress?.({ loadedBytes, totalBytes })
    }
    const spans: LoadedSpan<Kept>[] = []
    const opened: Part<Kept>[] = []
    const watch = { signal, onShard }
    const tied =
      both && embed && head
        ? await this.#openTied(options, both, embed, head, watch)
        : null
    // They are read once more, each for itself.
    if (both && !tied && embed && head) totalBytes += sum([embed, head])
    const openPart = (linked: LinkedSpan): Promise<BackendSession<Kept>> => {
      if (tied && linked === embed)
        return Promise.resolve(tied.half(embed, head ?? embed))
      if (tied && linked === head) return Promise.resolve(tied.half(head, embed ?? head))
      return this.#openPart(options, linked, mode, watch)
    }
    try {
      for (const [i, span] of options.spans.entries()) {
        const start = opened.length
        for (const linked of parts[i] ?? []) {
          const session = await openPart(linked)
          opened.push({ linked, session, lastRowOnly: isRowwise(linked) })
          if (signal.aborted)
            throw new StageError('aborted', 'Loading the model was stopped.')
        }
        spans.push(loadedSpan(manifest, span, opened.slice(start)))
      }
    } catch (error) {
      await Promise.allSettled(opened.map(({ session }) => session.release()))
      throw error
    }
    const weights = sum(tied && both ? [both, ...apart] : parts.flat(), mode)
    return { layout: options.layout, manifest, spans, weights }
  }

  /** A starter whose ends share weights has its embedding in a part of its own. */
  #divide(manifest: Manifest, span: Span, mode: WeightMode, isTied: boolean): Span[] {
    const bytes = this.#backend.sessionBytes
    if (!isTied || !span.embed) return divide(manifest, span, mode, bytes)
    const ends: Span = { from: 0, to: 0, embed: true, head: false }
    if (span.to === 0) return [ends]
    return [ends, ...divide(manifest, { ...span, embed: false }, mode, bytes)]
  }

  /** Null where the runtime cannot run one end with zero rows of the other. */
  async #openTied(
    options: LoadOptions,
    both: LinkedSpan,
    embed: LinkedSpan,
    head: LinkedSpan,
    watch: { signal: AbortSignal; onShard: (bytes: number) => void },
  ): Promise<TiedSession<Kept> | null> {
    const session = await this.#openPart(options, both, options.mode, watch)
    try {
      const tied = new TiedSession(session)
      await tied.tryOut(embed, head)
      return tied
    } catch {
      await session.release()
      return null
    }
  }

  /** A function of its own, so that the weight buffers are free as soon as it returns. */
  async #openPart(
    { manifest, reader }: LoadOptions,
    linked: LinkedSpan,
    mode: WeightMode,
    watch: { signal: AbortSignal; onShard: (bytes: number) => void },
  ): Promise<BackendSession<Kept>> {
    const { model, sliced } =
      mode === 'lean' ? sliceLean(linked.model) : { model: linked.model, sliced: null }
    const requests = linked.externalData.map((file) => ({
      ...file,
      sliced: sliced?.get(file.path),
    }))
    const weights = await assembleWeights(manifest, requests, reader, watch)
    return this.#backend.open({ ...linked, model }, weights, mode)
  }

  /** Refuses what cannot run, before anything is computed. */
  #check(step: Step): { manifest: Manifest; span: LoadedSpan<Kept>; size: RunSize } {
    const manifest = this.#loaded?.manifest
    const span =
      this.#loaded?.layout === step.layout ? this.#loaded.spans[step.span] : undefined
    if (!manifest || !span)
      throw badInput('This device does not run that part of the model')
    const { position, rows } = step
    if (
      !Number.isSafeInteger(rows) ||
      rows < 1 ||
      !Number.isSafeInteger(position) ||
      position < 0
    )
      throw badInput('A step without rows or with a wrong position was asked for')
    if (manifest.context > 0 && position + rows > manifest.context)
      throw badInput(
        `This chat is longer than the ${manifest.context} tokens the model can read`,
      )
    if (step.ids?.some((id) => id >= manifest.vocabulary))
      throw badInput('A token id is not in the vocabulary of the model')
    const length = span.sequences.get(step.sequence)?.length ?? 0
    if (span.hasCaches && position > length)
      throw new StageError(
        'gap',
        `Rows ${length} to ${position} of this chat are missing here; they are sent again.`,
      )
    if (position < length) truncate(span, step.sequence, position)
    if (span.hasCaches && position > 0 && !span.sequences.has(step.sequence))
      throw new StageError(
        'gap',
        'This model cannot take back single words; the chat is read again from its start.',
      )
    return { manifest, span, size: { batch: BATCH, rows, past: position } }
  }
}

function loadedSpan<Kept>(
  manifest: Manifest,
  span: Span,
  parts: readonly Part<Kept>[],
): LoadedSpan<Kept> {
  const caches = parts.flatMap(({ linked }) => linked.caches)
  const outputs = outputsOf(manifest, span)
  return {
    span,
    parts,
    outputs: span.head ? [...outputs, manifest.logits.name] : outputs,
    hasCaches: caches.length > 0,
    canTruncate: caches.every((cache) => cache.axis !== null),
    sequences: new Map(),
  }
}

function isRowwise({ logits, caches, feeds, inputs }: LinkedSpan): boolean {
  return (
    logits !== null &&
    caches.length === 0 &&
    Object.keys(feeds).length === 0 &&
    Object.values(inputs).every(({ dims }) => rowAxis(dims) !== null)
  )
}

/** Everything a part reads but its caches. */
function inputsFor(
  manifest: Manifest,
  linked: LinkedSpan,
  known: ReadonlyMap<string, TensorData>,
  size: RunSize,
  { ids, narrow }: { ids: readonly number[] | undefined; narrow: boolean },
): Map<string, TensorData> {
  const inputs = new Map<string, TensorData>()
  for (const [name, feed] of Object.entries(linked.feeds))
    inputs.set(name, fillFeed(name, feed, size, ids))
  for (const [name, { dims }] of Object.entries(linked.inputs)) {
    const dtype = manifest.tensors[name]?.dtype ?? 'float32'
    const tensor = checkTensor(name, known.get(name), dtype, dimsFor(dims, size))
    const axis = rowAxis(dims)
    const cut = narrow && axis !== null
    inputs.set(name, cut ? slice(tensor, axis, size.rows - 1, size.rows) : tensor)
  }
  return inputs
}

function lastRow({ batch, rows, past }: RunSize): RunSize {
  return { batch, rows: 1, past: past + rows - 1 }
}

/** Logits `[…, rows, vocabulary]` of the last row. */
function lastOf(logits: TensorData): TensorData {
  const axis = logits.dims.length - 2
  const rows = logits.dims[axis] ?? 1
  return slice(logits, axis, rows - 1, rows)
}

function truncate<Kept>(span: LoadedSpan<Kept>, sequence: number, length: number): void {
  const kept = span.sequences.get(sequence)
  if (!kept || kept.length <= length) return
  if (length <= 0 || !span.canTruncate) forget(span, sequence)
  else kept.length = length
}

function forget<Kept>(span: LoadedSpan<Kept>, sequence: number): void {
  const kept = span.sequences.get(sequence)
  span.sequences.delete(sequence)
  if (kept?.state === 'running') kept.state = 'dropped'
  else if (kept) disposeAll(span, kept)
}

/** A function, because the compiler does not expect a change during an await. */
function isDropped({ state }: { readonly state: Sequence<unknown>['state'] }): boolean {
  return state === 'dropped'
}

function pick(
  known: ReadonlyMap<string, TensorData>,
  names: readonly string[],
): Map<string, TensorData> {
  const found = new Map<string, TensorData>()
  for (const name of names) {
    const tensor = known.get(name)
    if (!tensor) throw new StageError('internal', `The model did not compute "${name}".`)
    found.set(name, tensor)
  }
  return found
}

function disposeAll<Kept>({ parts }: LoadedSpan<Kept>, { caches }: Sequence<Kept>): void {
  parts.forEach(({ session }, i) => {
    const kept = caches[i]
    if (kept) session.dispose(kept)
    caches[i] = null
  })
}

async function releaseAll<Kept>({ spans }: Loaded<Kept>): Promise<void> {
  for (const span of spans) {
    for (const sequence of [...span.sequences.keys()]) forget(span, sequence)
    await Promise.allSettled(span.parts.map(({ session }) => session.release()))
  }
}

/** Bytes of the blobs that a part reads: as stored, or as held in a mode. */
function bytesOf(
  manifest: Manifest,
  { externalData }: LinkedSpan,
  mode?: WeightMode,
): number {
  const blobs = new Set(externalData.map(({ blob }) => blob))
  return [...blobs].reduce((sum, id) => {
    const blob = manifest.blobs[id]
    return sum + ((mode ? blob?.resident[mode] : blob?.bytes) ?? 0)
  }, 0)
}

function badInput(what: string): StageError {
  return new StageError('bad-input', `${what}; ask again.`)
}
