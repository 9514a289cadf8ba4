/**
 * The ring as one stage sees it: collects the inputs of each chunk, runs them when it is their
 * turn, and sends what comes out to the stages that read it. It lives as long as its engine:
 * plans come and go, and each sequence goes from one to the next on its own.
 */
import { dimsFor, rowAxis, slice } from '../stage/tensors.ts'
import { StageError, type Engine, type TensorData } from '../stage/types.ts'
import type { CacheRows } from './cache-rows.ts'
import { compareEpochs } from './epoch.ts'
import { PLAIN, type Frame, type FrameHeader } from './frame.ts'
import type { KvCopy } from './kv-copy.ts'
import { MOST_SEQUENCES, write, type Fault } from './messages.ts'
import type { OwnSpan, Routes } from './routes.ts'
import type { Scheduler } from './scheduler.ts'
import type { Epoch } from './types.ts'

/** Chunks of one sequence that wait for inputs. */
const MOST_CHUNKS = 32
/** Bytes of inputs that wait for others. */
const MOST_WAITING_BYTES = 64 * 2 ** 20

/** Rows of one sequence on their way through the ring. */
export interface ChunkHeader {
  readonly sequence: number
  readonly attempt: number
  readonly base: number
  readonly position: number
  readonly rows: number
  readonly last: boolean
  /** Rows after the first are guesses: logits are wanted for every row. */
  readonly draft: boolean
}

/** A plan as this stage serves it. */
export interface NodePlan {
  readonly routes: Routes
  readonly layout: number
  /** Bytes that caches may take. */
  readonly cacheBudget: number
  /** Fetches rows of layers that others had before; null: none has come here. */
  readonly copy: KvCopy | null
}

export interface NodeOptions {
  readonly engine: Engine
  readonly rows: CacheRows
  readonly scheduler: Scheduler
  /** False: there is no link to that device. */
  readonly send: (device: string, frame: Frame) => boolean
  /** On the starter: the head ran. */
  readonly onLogits: (
    chunk: ChunkHeader,
    outputs: ReadonlyMap<string, TensorData>,
  ) => void
  /** After each run: rows and what took how long, for the estimate. */
  readonly onRun?: (span: number, rows: number, ms: number) => void
  /** The engine cannot be used any more. */
  readonly onBroken?: () => void
  readonly now: () => number
}

interface Chunk extends ChunkHeader {
  readonly plan: NodePlan
  readonly span: number
  readonly inputs: Map<string, TensorData>
  readonly ids?: readonly number[]
}

interface Kept {
  /** Of the newest attempt. */
  plan: NodePlan
  attempt: number
  /** Waiting for inputs, by span and position. */
  readonly waiting: Map<string, Chunk>
  /** First row that is not yet in line, by span; of the newest attempt. */
  readonly next: Map<number, number>
  /** Chunks that wait for rows which another device has; null: none has to. */
  parked: { chunk: Chunk; pulled: boolean }[] | null
}

export class StageNode {
  readonly #options: NodeOptions
  #plans: readonly NodePlan[] = []
  /** Least recently used first. */
  readonly #sequences = new Map<number, Kept>()
  #waitingBytes = 0

  constructor(options: NodeOptions) {
    this.#options = options
  }

  get sequences(): number {
    return this.#sequences.size
  }

  get engine(): Engine {
    return this.#options.engine
  }

  /** Serves one more plan, the newest. */
  serve(plan: NodePlan): void {
    this.#plans = [...this.#plans, plan]
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
      this.#tell(plan, { ...PLAIN, kind: 'nack', sequence, attempt, position })
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

  #planOf(epoch: Epoch): NodePlan | null {
    const same = (plan: NodePlan) => compareEpochs(epochOf(plan), epoch) === 0
    return this.#plans.find(same) ?? null
  }

  /** State of the sequence, unless the frame is of an older attempt. */
  #use(plan: NodePlan, { sequence, attempt }: ChunkHeader): Kept | null {
    const known = this.#sequences.get(sequence)
    const order = known ? orderOf(plan, attempt, known) : 0
    if (order < 0) return null
    const kept: Kept = known ?? {
      plan,
      attempt,
      waiting: new Map<string, Chunk>(),
      next: new Map<number, number>(),
      parked: null,
    }
    this.#sequences.delete(sequence)
    this.#sequences.set(sequence, kept)
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

  #enqueue(chunk: Chunk, pulled = false): void {
    const { sequence, rows, draft } = chunk
    const isStep = rows === 1 || draft
    const run = () => this.#run(chunk, pulled)
    this.#options.scheduler.add({ sequence, isStep, run })
  }

  async #run(chunk: Chunk, pulled = false): Promise<void> {
    const { engine, rows: caches, now } = this.#options
    const { plan, sequence, position, rows, attempt, base } = chunk
    const kept = this.#sequences.get(sequence)
    const own = plan.routes.spans[chunk.span]
    if (!kept || !own || !this.#isCurrent(kept, chunk)) return
    if (kept.parked) {
      kept.parked.push({ chunk, pulled: false })
      return
    }
    const behind = caches.behind(sequence, own.layers, position, base)
    if (behind.length > 0) {
      if (!pulled && plan.copy) void this.#pull(kept, chunk, plan.copy, behind)
      else this.#refuse(chunk, caches.reliable(sequence, own.layers, position))
      return
    }
    const began = now()
    try {
      this.#makeRoom(sequence, plan)
      const { span, inputs, ids } = chunk
      const everyRow = chunk.draft
      const { layout } = plan
      const step = { layout, span, sequence, position, rows, inputs, everyRow }
      const outputs = await engine.run(ids ? { ...step, ids } : step)
      this.#options.onRun?.(span, rows, now() - began)
      // It may have been forgotten while it ran.
      if (this.#sequences.get(sequence) !== kept) {
        if (!this.#sequences.has(sequence)) caches.drop(sequence)
        return
      }
      caches.wrote(sequence, own.layers, position, rows, attempt)
      if (this.#isCurrent(kept, chunk)) this.#give(own, chunk, outputs)
    } catch (error) {
      caches.truncate(sequence, own.layers, position)
      this.#fail(chunk, own, error)
    }
  }

  #isCurrent(kept: Kept, { plan, attempt }: Chunk): boolean {
    return this.#plans.includes(plan) && kept.plan === plan && kept.attempt === attempt
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
    await copy.reach(chunk.sequence, layers, chunk.position, chunk.base)
    if (kept.parked !== parked) return
    kept.parked = null
    for (const each of parked) this.#enqueue(each.chunk, each.pulled)
  }

  #give(own: OwnSpan, chunk: Chunk, outputs: Map<string, TensorData>): void {
    const { routes } = chunk.plan
    if (own.span.head && chunk.last) this.#options.onLogits(headerOf(chunk), outputs)
    for (const { index, name, tensor, to } of own.outputs) {
      const data = outputs.get(name)
      if (!data) {
        this.#fault(chunk, 'broken')
        return
      }
      for (const { device, head } of to) {
        if (head && !chunk.last) continue
        const cut =
          head && routes.headLastRow && !chunk.draft ? rowAxis(tensor.dims) : null
        const { rows } = chunk
        const part = cut === null ? data : slice(data, cut, rows - 1, rows)
        const header =
          cut === null
            ? headerOf(chunk)
            : { ...headerOf(chunk), position: chunk.position + rows - 1, rows: 1 }
        const frame = {
          ...header,
          kind: 'hidden',
          tensor: index,
          dtype: tensor.dtype,
        } as const
        const payload = part.bytes
        if (!this.#send(chunk.plan, device, { ...frame, payload }))
          this.#fault(chunk, 'unreachable')
      }
    }
    if (routes.lastStage && !chunk.last)
      this.#tell(chunk.plan, { ...PLAIN, ...headerOf(chunk), kind: 'passed' })
  }

  #fail(chunk: Chunk, { layers }: OwnSpan, error: unknown): void {
    const code = error instanceof StageError ? error.code : 'internal'
    if (code === 'aborted') return
    if (code === 'device-lost') this.#options.onBroken?.()
    const { sequence } = chunk
    const position = this.#options.rows.rows(sequence, layers)
    if (code === 'gap' || (code === 'out-of-memory' && this.#evictIdle(sequence)))
      this.#refuse(chunk, position)
    else this.#fault(chunk, code === 'out-of-memory' ? code : 'broken')
  }

  #fault({ plan, sequence, attempt, position }: Chunk, code: Fault): void {
    const header = { ...PLAIN, sequence, attempt, position }
    this.#tell(plan, { ...header, kind: 'fault', payload: write({ code }) })
  }

  /** Only `position` rows can be built on here. */
  #refuse({ plan, sequence, attempt, base }: Chunk, position: number): void {
    const header = { ...PLAIN, sequence, attempt, base, position }
    this.#tell(plan, { ...header, kind: 'nack' })
  }

  /** To the starter. */
  #tell(plan: NodePlan, frame: Omit<Frame, 'epoch'>): void {
    this.#send(plan, plan.routes.starter, frame)
  }

  #send(plan: NodePlan, device: string, frame: Omit<Frame, 'epoch'>): boolean {
    if (!this.#plans.includes(plan)) return true
    return this.#options.send(device, { ...frame, epoch: epochOf(plan) })
  }

  #makeRoom(current: number, { layout, cacheBudget }: NodePlan): void {
    const { engine } = this.#options
    for (const sequence of this.#idle(current)) {
      if (engine.memory().caches <= cacheBudget) return
      this.#evict(sequence)
    }
    if (engine.memory().caches > cacheBudget && engine.length(current, layout) > 0)
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
    if (kept)
      this.#tell(kept.plan, {
        ...PLAIN,
        kind: 'nack',
        sequence,
        attempt: kept.attempt,
      })
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

function epochOf({ routes }: NodePlan): Epoch {
  return routes.plan.epoch
}

/** Negative: older than what is known; attempts of a later plan come after all earlier ones. */
function orderOf(plan: NodePlan, attempt: number, known: Kept): number {
  return compareEpochs(epochOf(plan), epochOf(known.plan)) || attempt - known.attempt
}

function headerOf(from: FrameHeader | ChunkHeader): ChunkHeader {
  const { sequence, attempt, base, position, rows, last, draft } = from
  return { sequence, attempt, base, position, rows, last, draft }
}

function bytesOf({ inputs }: Chunk): number {
  return [...inputs.values()].reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
}
