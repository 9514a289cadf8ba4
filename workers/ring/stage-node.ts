/**
 * The ring as one stage sees it: collects the inputs of each chunk, runs them when it is their
 * turn, and sends what comes out to the stages that read it. It lives as long as its engine:
 * plans come and go, and each sequence goes from one to the next on its own.
 */
import {
  alikeStages,
  batchSize,
  type StepTimes,
} from '../../model-split/plan/batch-size.ts'
import { dimsFor } from '../stage/tensors.ts'
import { StageError, type Engine, type Step, type TensorData } from '../stage/types.ts'
import type { CacheRows } from './cache-rows.ts'
import {
  bytesOf,
  epochOf,
  headerOf,
  type Chunk,
  type ChunkHeader,
  type NodePlan,
} from './chunk.ts'
import { compareEpochs } from './epoch.ts'
import type { Frame } from './frame.ts'
import { InFlight } from './in-flight.ts'
import type { KvCopy } from './kv-copy.ts'
import { MOST_SEQUENCES } from './messages.ts'
import type { OwnSpan, Routes } from './routes.ts'
import type { Scheduler, Work } from './scheduler.ts'
import { StageSender, type StageSenderOptions } from './stage-sender.ts'
import type { Epoch } from './types.ts'

/** Chunks of one sequence that wait for inputs. */
const MOST_CHUNKS = 32
/** Bytes of inputs that wait for others. */
const MOST_WAITING_BYTES = 64 * 2 ** 20
/** A sequence of which nothing came for so long does not run now, ms. */
const RUNNING_MS = 5000

export interface NodeOptions extends StageSenderOptions {
  readonly engine: Engine
  readonly rows: CacheRows
  readonly scheduler: Scheduler
  /** After each run: rows and what took how long, for the estimate; its share of a batch. */
  readonly onRun?: (span: number, rows: number, ms: number) => void
  /** The engine cannot be used any more. */
  readonly onBroken?: () => void
  readonly now: () => number
  /** Of the plan that serves, as far as they are known. */
  readonly stepTimes?: () => StepTimes | null
}

/** A plan that is served, with what its spans do. */
interface Served extends NodePlan {
  readonly work: readonly Work<Due>[]
}

/** A chunk whose inputs are all there. */
interface Due {
  readonly chunk: Chunk
  /** Missing rows were fetched as far as they came. */
  readonly pulled: boolean
}

/** A chunk whose turn it is. */
interface Ready {
  readonly chunk: Chunk
  readonly kept: Kept
}

interface Kept {
  /** Of the newest attempt. */
  plan: NodePlan
  attempt: number
  /** When something of it came here last. */
  usedAt: number
  /** Waiting for inputs, by span and position. */
  readonly waiting: Map<string, Chunk>
  /** First row that is not yet in line, by span; of the newest attempt. */
  readonly next: Map<number, number>
  /** Chunks that wait for rows which another device has; null: none has to. */
  parked: Due[] | null
}

export class StageNode {
  readonly #options: NodeOptions
  readonly #sender: StageSender
  #plans: readonly Served[] = []
  /** Least recently used first. */
  readonly #sequences = new Map<number, Kept>()
  #waitingBytes = 0

  constructor(options: NodeOptions) {
    this.#options = options
    this.#sender = new StageSender(options, (plan) => this.#isServed(plan))
  }

  get sequences(): number {
    return this.#sequences.size
  }

  get engine(): Engine {
    return this.#options.engine
  }

  /** Serves one more plan, the newest. */
  serve(plan: NodePlan): void {
    const work = plan.routes.spans.map((own) => this.#workOf(plan, own))
    this.#plans = [...this.#plans, { ...plan, work }]
  }

  /** A plan is over: nothing of it is run or sent any more. */
  end(epoch: Epoch): void {
    this.#plans = this.#plans.filter(
      ({ routes }) => compareEpochs(routes.plan.epoch, epoch) !== 0,
    )
  }

  /** Whether a sequence runs under this plan, or under a later one. */
  isLive(sequence: number, epoch: Epoch): boolean {
    const kept = this.#sequences.get(sequence)
    return kept !== undefined && compareEpochs(epochOf(kept.plan), epoch) >= 0
  }

  /** Whether something of a sequence came here lately. */
  isRunning(sequence: number): boolean {
    const kept = this.#sequences.get(sequence)
    return kept !== undefined && this.#options.now() - kept.usedAt < RUNNING_MS
  }

  /** On the starter: a chunk begins its way. */
  begin(epoch: Epoch, chunk: ChunkHeader, ids: readonly number[]): void {
    const plan = this.#planOf(epoch)
    const kept = plan && this.#use(plan, chunk)
    if (kept) this.#enqueue({ ...chunk, plan, span: 0, inputs: new Map(), ids })
  }

  /** A hidden state whose size was checked. Anything unexpected is dropped. */
  receive(device: string, frame: Frame): void {
    const plan = this.#planOf(frame.epoch)
    const input = plan?.routes.inputs.get(frame.tensor)
    if (!plan || !input || input.from !== device || frame.dtype === null) return
    const kept = this.#use(plan, frame)
    if (!kept || frame.position < (kept.next.get(input.span) ?? 0)) return
    const key = `${input.span}:${frame.position}`
    const chunk = kept.waiting.get(key) ?? {
      ...headerOf(frame),
      plan,
      span: input.span,
      inputs: new Map(),
    }
    const same =
      chunk.rows === frame.rows &&
      chunk.last === frame.last &&
      chunk.draft === frame.draft &&
      chunk.base === frame.base
    if (!same || chunk.inputs.has(input.name)) return
    const { rows, position: past } = frame
    const dims = dimsFor(input.tensor.dims, { batch: 1, rows, past })
    chunk.inputs.set(input.name, { dtype: frame.dtype, dims, bytes: frame.payload })
    kept.waiting.set(key, chunk)
    this.#waitingBytes += frame.payload.byteLength
    this.#line(kept)
    this.#bound(frame.sequence, kept)
  }

  /** Frees what is kept of a sequence. */
  forget(sequence: number): void {
    const kept = this.#sequences.get(sequence)
    if (kept) this.#clear(kept)
    this.#sequences.delete(sequence)
    this.#options.rows.drop(sequence)
  }

  /**
   * Frames may have been lost (a link was renewed): tells the starter what is here, so that
   * it goes on from there.
   */
  report(): void {
    for (const [sequence, { plan, attempt }] of this.#sequences) {
      if (plan.routes.spans.every((own) => own.layers.length === 0)) continue
      const position = this.rowsOf(sequence, plan.routes)
      this.#sender.refuse(plan, { sequence, attempt }, position)
    }
  }

  /** Rows of a sequence that can be built on under a plan. */
  rowsOf(sequence: number, { spans }: Routes): number {
    const layers = spans.flatMap((own) => own.layers)
    return this.#options.rows.rows(sequence, layers)
  }

  /** Which attempt each sequence is at. */
  get attempts(): [sequence: number, attempt: number][] {
    return [...this.#sequences].map(([sequence, { attempt }]) => [sequence, attempt])
  }

  /** Nothing is sent or kept any more. */
  close(): void {
    this.#plans = []
    for (const kept of this.#sequences.values()) this.#clear(kept)
    this.#sequences.clear()
    const { rows } = this.#options
    for (const sequence of rows.sequences) rows.drop(sequence)
  }

  #planOf(epoch: Epoch): Served | null {
    const same = (plan: NodePlan) => compareEpochs(epochOf(plan), epoch) === 0
    return this.#plans.find(same) ?? null
  }

  #isServed(plan: NodePlan): boolean {
    return this.#plans.some((served) => served === plan)
  }

  /** State of the sequence, unless the frame is of an older attempt. */
  #use(plan: NodePlan, { sequence, attempt }: ChunkHeader): Kept | null {
    const known = this.#sequences.get(sequence)
    const order = known ? orderOf(plan, attempt, known) : 0
    if (order < 0) return null
    const kept: Kept = known ?? {
      plan,
      attempt,
      usedAt: 0,
      waiting: new Map<string, Chunk>(),
      next: new Map<number, number>(),
      parked: null,
    }
    this.#sequences.delete(sequence)
    this.#sequences.set(sequence, kept)
    kept.usedAt = this.#options.now()
    if (order > 0) {
      this.#clear(kept)
      kept.plan = plan
      kept.attempt = attempt
    }
    for (const oldest of this.#sequences.keys()) {
      if (this.#sequences.size <= MOST_SEQUENCES) break
      this.#evict(oldest)
    }
    return kept
  }

  /** Puts complete chunks in line, in order of their position. */
  #line(kept: Kept): void {
    const waiting = [...kept.waiting].sort(([, a], [, b]) => a.position - b.position)
    const held = new Set<number>()
    for (const [key, chunk] of waiting) {
      const wanted = chunk.plan.routes.spans[chunk.span]?.inputs.length
      if (held.has(chunk.span)) continue
      if (chunk.inputs.size !== wanted) {
        held.add(chunk.span)
        continue
      }
      kept.waiting.delete(key)
      this.#waitingBytes -= bytesOf(chunk)
      kept.next.set(chunk.span, chunk.position + chunk.rows)
      this.#enqueue(chunk)
    }
  }

  /** Waiting steps of several sequences are one call of the engine. */
  #workOf({ routes }: NodePlan, own: OwnSpan): Work<Due> {
    const flying = new InFlight()
    const alike = alikeStages(routes.plan.stages.length)
    return {
      most: (sequences) =>
        this.#options.engine.batches
          ? batchSize(flying.count(sequences), this.#options.stepTimes?.() ?? alike)
          : 1,
      run: (due) => {
        for (const { chunk } of due) if (isStep(chunk)) flying.stepped(chunk.sequence)
        return this.#run(own, due)
      },
    }
  }

  #enqueue(chunk: Chunk, pulled = false): void {
    const { sequence, plan, span } = chunk
    const work = this.#planOf(epochOf(plan))?.work[span]
    const task = { chunk, pulled }
    if (work) this.#options.scheduler.add({ sequence, isStep: isStep(chunk), task, work })
  }

  async #run(own: OwnSpan, due: readonly Due[]): Promise<void> {
    const { engine, now } = this.#options
    const failed: [Chunk, unknown][] = []
    const later: Due[] = []
    const ready: Ready[] = []
    for (const each of due) {
      const { chunk } = each
      const kept = this.#ready(own, each)
      if (!kept) continue
      try {
        this.#makeRoom(chunk, new Set(ready.map((other) => other.chunk.sequence)))
        ready.push({ chunk, kept })
      } catch (error) {
        // The caches of those beside it may have to go for it.
        if (ready.length > 0) later.push(each)
        else failed.push([chunk, error])
      }
    }
    const began = now()
    const runs = engine.runTogether(ready.map(({ chunk }) => stepOf(chunk)))
    await Promise.all(
      ready.map(async (each, i) => {
        const { span, rows } = each.chunk
        try {
          const outputs = (await runs[i]) ?? new Map<string, TensorData>()
          this.#options.onRun?.(span, rows, (now() - began) / ready.length)
          this.#ran(own, each, outputs)
        } catch (error) {
          failed.push([each.chunk, error])
        }
      }),
    )
    // What others need may be freed for those that failed: their outputs come first.
    for (const [chunk, error] of failed) this.#fail(chunk, own, error)
    for (const each of later) await this.#run(own, [each])
  }

  /** What is kept of its sequence, if the chunk can run now. */
  #ready(own: OwnSpan, { chunk, pulled }: Due): Kept | null {
    const { plan, sequence, position, base } = chunk
    const { rows: caches } = this.#options
    const kept = this.#sequences.get(sequence)
    if (!kept || !this.#isCurrent(kept, chunk)) return null
    if (kept.parked) {
      kept.parked.push({ chunk, pulled: false })
      return null
    }
    const behind = caches.behind(sequence, own.layers, position, base)
    if (behind.length === 0) return kept
    if (!pulled && plan.copy) void this.#pull(kept, chunk, plan.copy, behind)
    else this.#sender.refuse(plan, chunk, caches.reliable(sequence, own.layers, position))
    return null
  }

  #ran(
    own: OwnSpan,
    { chunk, kept }: Ready,
    outputs: ReadonlyMap<string, TensorData>,
  ): void {
    const { rows: caches } = this.#options
    const { sequence, position, rows, attempt } = chunk
    // It may have been forgotten while it ran.
    if (this.#sequences.get(sequence) !== kept) {
      if (!this.#sequences.has(sequence)) caches.drop(sequence)
      return
    }
    caches.wrote(sequence, own.layers, position, rows, attempt)
    if (this.#isCurrent(kept, chunk)) this.#sender.give(own, chunk, outputs)
  }

  #isCurrent(kept: Kept, { plan, attempt }: Chunk): boolean {
    return this.#isServed(plan) && kept.plan === plan && kept.attempt === attempt
  }

  /** What the chunk builds on may still be where the layers were before. */
  async #pull(
    kept: Kept,
    chunk: Chunk,
    copy: KvCopy,
    layers: readonly number[],
  ): Promise<void> {
    const parked = [{ chunk, pulled: true }]
    kept.parked = parked
    const { sequence, position, base } = chunk
    const isWanted = () => kept.parked === parked
    await copy.reach(sequence, layers, position, base, isWanted)
    if (!isWanted()) return
    kept.parked = null
    for (const each of parked) this.#enqueue(each.chunk, each.pulled)
  }

  #fail(chunk: Chunk, { layers }: OwnSpan, error: unknown): void {
    const { rows: caches } = this.#options
    caches.truncate(chunk.sequence, layers, chunk.position)
    const code = error instanceof StageError ? error.code : 'internal'
    if (code === 'aborted') return
    if (code === 'device-lost') this.#options.onBroken?.()
    const { sequence } = chunk
    const position = caches.rows(sequence, layers)
    if (code === 'gap' || (code === 'out-of-memory' && this.#evictIdle(sequence)))
      this.#sender.refuse(chunk.plan, chunk, position)
    else this.#sender.fault(chunk, code === 'out-of-memory' ? code : 'broken')
  }

  /** @param beside sequences that run with it. */
  #makeRoom({ sequence, plan }: Chunk, beside: ReadonlySet<number>): void {
    const { engine } = this.#options
    const { layout, cacheBudget } = plan
    for (const idle of this.#idle(sequence)) {
      if (engine.memory().caches <= cacheBudget) return
      if (!beside.has(idle)) this.#evict(idle)
    }
    if (engine.memory().caches > cacheBudget && engine.length(sequence, layout) > 0)
      throw new StageError(
        'out-of-memory',
        'The chat is longer than this phone can hold.',
      )
  }

  #evictIdle(current: number): boolean {
    const others = this.#idle(current)
    for (const sequence of others) this.#evict(sequence)
    return others.length > 0
  }

  /** All others: first those that were only copied ahead, then the longest unused. */
  #idle(current: number): number[] {
    const used = [...this.#sequences.keys()]
    const copied = this.#options.rows.sequences.filter((one) => !this.#sequences.has(one))
    return [...copied, ...used].filter((sequence) => sequence !== current)
  }

  /** Frees a sequence that may be needed yet: its starter then reads it in again. */
  #evict(sequence: number): void {
    const kept = this.#sequences.get(sequence)
    if (kept) this.#sender.refuse(kept.plan, { sequence, attempt: kept.attempt }, 0)
    this.forget(sequence)
  }

  /** Inputs without their counterparts don't pile up. */
  #bound(current: number, kept: Kept): void {
    if (kept.waiting.size > MOST_CHUNKS) this.#evict(current)
    for (const sequence of this.#sequences.keys()) {
      if (this.#waitingBytes <= MOST_WAITING_BYTES) return
      this.#evict(sequence)
    }
  }

  #clear(kept: Kept): void {
    for (const chunk of kept.waiting.values()) this.#waitingBytes -= bytesOf(chunk)
    kept.waiting.clear()
    kept.next.clear()
    kept.parked = null
  }
}

function isStep({ rows, draft }: Chunk): boolean {
  return rows === 1 || draft
}

function stepOf({ plan, span, inputs, ids, draft, ...header }: Chunk): Step {
  const { sequence, position, rows } = header
  const place = { layout: plan.layout, span, sequence, position, rows }
  return { ...place, inputs, everyRow: draft, ...(ids && { ids }) }
}

/** Negative: older than what is known; attempts of a later plan come after all earlier ones. */
function orderOf(plan: NodePlan, attempt: number, known: Kept): number {
  return compareEpochs(epochOf(plan), epochOf(known.plan)) || attempt - known.attempt
}
