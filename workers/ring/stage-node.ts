/**
 * The ring as one stage sees it under one plan: collects the inputs of each chunk, runs them
 * when it is their turn, and sends what comes out to the stages that read it.
 */
import { dimsFor, rowAxis, slice } from '../stage/tensors.ts'
import { StageError, type Engine, type TensorData } from '../stage/types.ts'
import { PLAIN, type Frame, type FrameHeader } from './frame.ts'
import { Lineage } from './lineage.ts'
import { write, type Fault } from './messages.ts'
import type { OwnSpan, Routes } from './routes.ts'
import type { Scheduler } from './scheduler.ts'

/** Sequences with a cache or a waiting chunk here; the longest unused one goes first. */
const MOST_SEQUENCES = 64
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

export interface NodeOptions {
  readonly routes: Routes
  readonly engine: Engine
  readonly layout: number
  readonly scheduler: Scheduler
  /** Bytes that caches may take. */
  readonly cacheBudget: number
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
  readonly span: number
  readonly inputs: Map<string, TensorData>
  readonly ids?: readonly number[]
}

interface Kept {
  attempt: number
  /** Waiting for inputs, by span and position. */
  readonly waiting: Map<string, Chunk>
  /** First row that is not yet in line, by span; of the newest attempt. */
  readonly next: Map<number, number>
  readonly lineage: Lineage
}

export class StageNode {
  readonly #options: NodeOptions
  /** Least recently used first. */
  readonly #sequences = new Map<number, Kept>()
  #waitingBytes = 0
  #closed = false

  constructor(options: NodeOptions) {
    this.#options = options
  }

  get sequences(): number {
    return this.#sequences.size
  }

  /** On the starter: a chunk begins its way. */
  begin(chunk: ChunkHeader, ids: readonly number[]): void {
    const kept = this.#use(chunk)
    if (kept) this.#enqueue({ ...chunk, span: 0, inputs: new Map(), ids })
  }

  /** A hidden state whose size was checked. Anything unexpected is dropped. */
  receive(device: string, frame: Frame): void {
    const input = this.#options.routes.inputs.get(frame.tensor)
    if (this.#closed || !input || input.from !== device || frame.dtype === null) return
    const kept = this.#use(frame)
    if (!kept || frame.position < (kept.next.get(input.span) ?? 0)) return
    const key = `${input.span}:${frame.position}`
    const chunk = kept.waiting.get(key) ?? {
      ...headerOf(frame),
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
    this.#options.engine.drop(sequence)
  }

  /**
   * Frames may have been lost (a link was renewed): tells the starter what is here, so that
   * it goes on from there.
   */
  report(): void {
    if (!this.#options.routes.spans.some(({ hasCaches }) => hasCaches)) return
    for (const [sequence, { attempt, lineage }] of this.#sequences)
      this.#tell({ ...PLAIN, kind: 'nack', sequence, attempt, position: lineage.rows })
  }

  /** The plan is over: nothing of it is sent or kept any more. */
  close(): void {
    this.#closed = true
    for (const [sequence, kept] of this.#sequences) {
      this.#clear(kept)
      this.#options.engine.drop(sequence)
    }
    this.#sequences.clear()
  }

  /** State of the sequence, unless the frame is of an older attempt. */
  #use({ sequence, attempt }: ChunkHeader): Kept | null {
    const known = this.#sequences.get(sequence)
    if (known && attempt < known.attempt) return null
    const kept = known ?? {
      attempt,
      waiting: new Map<string, Chunk>(),
      next: new Map<number, number>(),
      lineage: new Lineage(),
    }
    this.#sequences.delete(sequence)
    this.#sequences.set(sequence, kept)
    if (attempt > kept.attempt) {
      this.#clear(kept)
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
      const wanted = this.#options.routes.spans[chunk.span]?.inputs.length
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

  #enqueue(chunk: Chunk): void {
    const { sequence, rows, draft } = chunk
    const isStep = rows === 1 || draft
    this.#options.scheduler.add({ sequence, isStep, run: () => this.#run(chunk) })
  }

  async #run(chunk: Chunk): Promise<void> {
    const { engine, layout, routes, now } = this.#options
    const kept = this.#sequences.get(chunk.sequence)
    const own = routes.spans[chunk.span]
    if (this.#closed || !kept || !own || kept.attempt !== chunk.attempt) return
    const { sequence, position, rows, attempt, base } = chunk
    if (own.hasCaches && !this.#continues(kept.lineage, chunk)) {
      const reliable = kept.lineage.reliable(position)
      this.#tell({ ...PLAIN, kind: 'nack', sequence, attempt, base, position: reliable })
      return
    }
    const began = now()
    try {
      this.#makeRoom(sequence)
      const { span, inputs, ids } = chunk
      const everyRow = chunk.draft
      const step = { layout, span, sequence, position, rows, inputs, everyRow }
      const outputs = await engine.run(ids ? { ...step, ids } : step)
      this.#options.onRun?.(span, rows, now() - began)
      if (own.hasCaches) kept.lineage.wrote(position, rows, attempt)
      // It may have been forgotten while it ran.
      if (!this.#sequences.has(sequence)) engine.drop(sequence)
      else if (kept.attempt === attempt) this.#give(own, chunk, outputs)
    } catch (error) {
      kept.lineage.truncate(Math.min(position, engine.length(sequence, layout)))
      this.#fail(chunk, kept, error)
    }
  }

  #continues(lineage: Lineage, { sequence, position, base }: Chunk): boolean {
    // The engine may have dropped rows on its own (recurrent states, evictions).
    const { engine, layout } = this.#options
    lineage.truncate(engine.length(sequence, layout))
    return lineage.continues(position, base)
  }

  #give(own: OwnSpan, chunk: Chunk, outputs: Map<string, TensorData>): void {
    const { routes } = this.#options
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
        if (!this.#send(device, { ...frame, payload })) this.#fault(chunk, 'unreachable')
      }
    }
    if (routes.lastStage && !chunk.last)
      this.#tell({ ...PLAIN, ...headerOf(chunk), kind: 'passed' })
  }

  #fail(chunk: Chunk, kept: Kept, error: unknown): void {
    const code = error instanceof StageError ? error.code : 'internal'
    if (code === 'aborted') return
    if (code === 'device-lost') this.#options.onBroken?.()
    const { sequence, attempt, base } = chunk
    const position = kept.lineage.rows
    if (code === 'gap' || (code === 'out-of-memory' && this.#evictIdle(sequence)))
      this.#tell({ ...PLAIN, kind: 'nack', sequence, attempt, base, position })
    else this.#fault(chunk, code === 'out-of-memory' ? code : 'broken')
  }

  #fault({ sequence, attempt, position }: Chunk, code: Fault): void {
    const header = { ...PLAIN, sequence, attempt, position }
    this.#tell({ ...header, kind: 'fault', payload: write({ code }) })
  }

  /** To the starter. */
  #tell(frame: Omit<Frame, 'epoch'>): void {
    this.#send(this.#options.routes.starter, frame)
  }

  #send(device: string, frame: Omit<Frame, 'epoch'>): boolean {
    if (this.#closed) return true
    const { routes, send } = this.#options
    return send(device, { ...frame, epoch: routes.plan.epoch })
  }

  #makeRoom(current: number): void {
    const { engine, layout, cacheBudget } = this.#options
    for (const sequence of [...this.#sequences.keys()]) {
      if (engine.memory().caches <= cacheBudget) return
      if (sequence !== current) this.#evict(sequence)
    }
    if (engine.memory().caches > cacheBudget && engine.length(current, layout) > 0)
      throw new StageError(
        'out-of-memory',
        'The chat is longer than this phone can hold.',
      )
  }

  #evictIdle(current: number): boolean {
    const others = [...this.#sequences.keys()].filter((sequence) => sequence !== current)
    for (const sequence of others) this.#evict(sequence)
    return others.length > 0
  }

  /** Frees a sequence that may be needed yet: its starter then reads it in again. */
  #evict(sequence: number): void {
    const attempt = this.#sequences.get(sequence)?.attempt ?? 0
    this.#tell({ ...PLAIN, kind: 'nack', sequence, attempt })
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
  }
}

function headerOf(from: FrameHeader | ChunkHeader): ChunkHeader {
  const { sequence, attempt, base, position, rows, last, draft } = from
  return { sequence, attempt, base, position, rows, last, draft }
}

function bytesOf({ inputs }: Chunk): number {
  return [...inputs.values()].reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
}
