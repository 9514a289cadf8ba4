/**
 * The starter's part in each sequence: which rows the caches hold, prefill in chunks, then
 * laps; samples, and tells the asking device. When the plan changes each sequence goes over on
 * its own, as soon as nothing of it is in the ring; to another starter, if that is another.
 */
import type { Manifest } from '../../model-split/manifest.ts'
import { StageError, type TensorData } from '../stage/types.ts'
import type { ChunkHeader } from './chunk.ts'
import type { Clock } from './clock.ts'
import { LapCosts, type Drafter } from './drafts.ts'
import { compareEpochs } from './epoch.ts'
import type { AnswerMessage, AskMessage, Fault, StateMessage } from './messages.ts'
import { BROKEN, rowsOf } from './logits.ts'
import { sample } from './sampler.ts'
import {
  commonPrefix,
  isSame,
  stateOf,
  type Asking,
  type Known,
  type Running,
} from './starter-state.ts'
import type { Epoch } from './types.ts'

/**
 * Rows of a prefill chunk. Longer chunks are read faster in sum; shorter ones let other
 * sequences' steps in sooner and fill the ring's stages sooner. May be tuned; at most MAX_ROWS.
 */
export const CHUNK_ROWS = 64
/** Chunks of one sequence that are in the ring at a time. */
export const WINDOW = 4
const MOST_RUNNING = 32
/** Newest laps whose median is told. */
const MEDIAN_LAPS = 9
/** Sequences whose caches are kept for the next question. */
const MOST_KNOWN = 48
/** Tries without a new token in between before an answer fails. */
const MOST_TRIES = 8
/** How often, and how long, a missing link between two stages is waited for. */
const MOST_WAITS = 60
const WAIT_MS = 500
/** Nothing came back from the ring. */
const SILENCE_MS = 60_000
/** Of a plan that is over: then the rows are fed again. */
const DRAIN_MS = 10_000

const SENTENCES: Readonly<Record<Fault, string>> = {
  'out-of-memory': 'A phone ran out of memory; start a shorter chat or add a phone.',
  unreachable: 'Two phones lost each other; bring them closer and ask again.',
  broken: BROKEN,
}

export interface StarterOptions {
  readonly manifest: Manifest
  readonly clock: Clock
  readonly chunkRows: number
  /** What guesses the next tokens of an answer. */
  drafter(costs: LapCosts): Pick<Drafter, 'next' | 'heard'>
  /** Puts a chunk into the ring of a plan. */
  begin(epoch: Epoch, chunk: ChunkHeader, ids: readonly number[]): void
  /** Frees the caches along the ring. */
  forget(sequence: number): void
  /** From a plan of that epoch. */
  answer(epoch: Epoch, to: Asking, message: AnswerMessage): void
  /** Nothing is fed any more under plans before the newest. */
  moved(): void
}

export class Starter {
  readonly #options: StarterOptions
  /** Least recently used first. */
  readonly #known = new Map<number, Known>()
  readonly #running = new Map<number, Running>()
  readonly #costs = new LapCosts()
  /** Whether every stage can take rows back, and the head gives logits for every row. */
  readonly #canDraft: boolean
  #epoch: Epoch
  #context: number
  /** Set when another device starts from now on. */
  #successor: ((state: StateMessage, sequence: number) => void) | null = null
  #isMoving = false
  #attempts: number
  #laps: readonly number[] = []

  constructor(options: StarterOptions, epoch: Epoch, context: number) {
    this.#options = options
    const { logits, segments } = options.manifest
    this.#canDraft =
      logits.rows === 'all' &&
      segments.every(({ caches }) => caches.every(({ axis }) => axis !== null))
    this.#epoch = epoch
    this.#context = context
    // Rows that an earlier starter fed may be in the caches yet: no attempt has two meanings.
    this.#attempts = ((epoch.term * 31 + epoch.number) % 0xffff) * 0x1_0000
  }

  /** Median of the newest laps; null before the first. */
  get lapMs(): number | null {
    const sorted = this.#laps.toSorted((a, b) => a - b)
    return sorted[sorted.length >> 1] ?? null
  }

  /** Whether it has handed its sequences over, or is about to. */
  get isOver(): boolean {
    return this.#successor !== null
  }

  knows(sequence: number): boolean {
    return this.#known.has(sequence)
  }

  /**
   * The next plan, of at most `context` tokens a sequence. What is in the ring comes back
   * first; what does not is fed again.
   */
  follow(epoch: Epoch, context: number): void {
    this.#epoch = epoch
    this.#context = context
    this.#move()
  }

  /** Another device starts from now on: it gets each sequence as soon as it is still. */
  handOver(give: (state: StateMessage, sequence: number) => void): void {
    this.#successor = give
    for (const sequence of [...this.#known.keys()])
      if (!this.#running.has(sequence)) this.#give(sequence)
    this.#move()
  }

  /** Takes over a sequence from the starter before. */
  adopt(sequence: number, { asker, ids, rows, fed, running }: StateMessage): void {
    if (this.#known.has(sequence)) return
    const known: Known = { asker, ids: ids.slice(0, rows), fed: [] }
    for (const [i, [from, attempt]] of fed.entries()) {
      const end = fed[i + 1]?.[0] ?? rows
      for (let row = from; row < end; row++) known.fed.push(attempt)
    }
    this.#known.set(sequence, known)
    if (running) this.ask(asker, sequence, { ids, ...running })
  }

  ask(device: string, sequence: number, ask: AskMessage): void {
    // The asking device follows the plan too, and asks the next starter.
    if (this.#successor) return
    const { clock } = this.#options
    const context = this.#context
    const { question } = ask
    const to = { device, sequence, question }
    const fail = (message: string) =>
      this.#options.answer(this.#epoch, to, { kind: 'failed', message })
    const known = this.#known.get(sequence) ?? { asker: device, ids: [], fed: [] }
    if (known.asker !== device) {
      fail('This chat belongs to another phone; start a new one.')
      return
    }
    const before = this.#running.get(sequence)
    if (before && isSame(before, ask)) {
      before.question = question
      this.#repeat(sequence, before, ask.answered)
      return
    }
    this.#finish(sequence)
    if (ask.ids.length >= context && ask.answered === 0) {
      fail(`This chat is longer than the ${context} tokens that fit; start a new one.`)
      return
    }
    if (this.#running.size >= MOST_RUNNING) {
      fail('The room is answering too many questions; ask again in a moment.')
      return
    }
    this.#known.delete(sequence)
    this.#known.set(sequence, known)
    this.#forgetOldest()
    const same = commonPrefix(known.ids, ask.ids)
    const reused = Math.min(same, ask.ids.length - 1)
    const now = clock.now()
    const running: Running = {
      epoch: this.#epoch,
      ask,
      question,
      ids: [...ask.ids],
      reused,
      drafter: this.#drafterFor(ask),
      attempt: 0,
      sent: 0,
      inFlight: 0,
      tries: 0,
      waits: 0,
      askedAt: now,
      firstAt: null,
      laps: 0,
      lapAt: now,
      cancelTimer: () => undefined,
    }
    this.#running.set(sequence, running)
    // An answer that moved here may have been complete but for its end.
    if (ask.answered >= ask.maxTokens || ask.ids.length >= context)
      this.#end(sequence, 'length')
    else this.#attempt(sequence, running, reused)
  }

  stop(device: string, sequence: number): void {
    if (this.#known.get(sequence)?.asker === device) this.#end(sequence, 'stopped')
  }

  forget(device: string, sequence: number): void {
    if (this.#known.get(sequence)?.asker !== device) return
    this.#known.delete(sequence)
    this.#finish(sequence)
    this.#options.forget(sequence)
  }

  /** An asking device is gone: its answers make no work; it asks again when it is back. */
  left(device: string): void {
    for (const sequence of [...this.#running.keys()])
      if (this.#known.get(sequence)?.asker === device) this.#finish(sequence)
  }

  /** A chunk went through all stages: there is room for the next one. */
  passed(sequence: number, attempt: number): void {
    const running = this.#current(sequence, attempt)
    if (!running || running.inFlight === 0) return
    running.inFlight--
    this.#watch(sequence, running)
    this.#feed(sequence, running)
  }

  logits(chunk: ChunkHeader, outputs: ReadonlyMap<string, TensorData>): void {
    const { sequence, attempt, position, rows, draft } = chunk
    const running = this.#current(sequence, attempt)
    const known = this.#known.get(sequence)
    const fed = position + (draft ? 1 : rows)
    if (!running || !known || fed !== running.ids.length) return
    const { manifest, clock } = this.#options
    const { ask, ids, epoch } = running
    const index = fed - ask.ids.length + ask.answered
    const room = Math.min(ask.maxTokens - index, this.#context - fed)
    const guesses = draft ? known.ids.slice(fed) : []
    let eos: number | undefined
    try {
      const logits = rowsOf(manifest, outputs, draft ? rows : 1)
      // Each row is sampled as it would be in a lap of its own, as long as its input is right.
      for (const [i, row] of logits.entries()) {
        const id = sample(row, ask.sampling, ids, index + i)
        if (manifest.eos.includes(id)) eos = id
        else ids.push(id)
        if (id === eos || id !== guesses[i] || ids.length - fed === room) break
      }
    } catch (error) {
      const text = error instanceof StageError ? error.message : SENTENCES.broken
      this.#failed(sequence, text)
      return
    }
    const now = clock.now()
    if (running.firstAt !== null) {
      const lapMs = now - running.lapAt
      this.#laps = [...this.#laps, lapMs].slice(-MEDIAN_LAPS)
      this.#costs.add(rows, lapMs)
      running.laps++
    }
    running.firstAt ??= now
    running.lapAt = now
    running.tries = 0
    running.waits = 0
    running.inFlight = 0
    const came = ids.slice(fed)
    running.drafter?.heard(eos === undefined ? came : [...came, eos])
    this.#rollBack(running, known)
    const full = came.length === room
    // The next lap is on its way before anyone is told.
    if (!full && eos === undefined) this.#feed(sequence, running)
    const to = { device: known.asker, sequence, question: running.question }
    for (const [i, id] of came.entries()) {
      const message = { kind: 'token', index: index + i, id } as const
      this.#options.answer(epoch, to, message)
    }
    if (eos !== undefined) this.#end(sequence, 'eos', eos)
    else if (full) this.#end(sequence, 'length')
    else if (this.#running.get(sequence) === running) this.#watch(sequence, running)
  }

  /** A stage can build on `position` rows only. */
  nack(sequence: number, attempt: number, position: number): void {
    const running = this.#current(sequence, attempt)
    if (!running) return
    running.tries++
    // Step by step first, then from the start, where no row can be missing.
    if (running.tries > MOST_TRIES) this.#failed(sequence, SENTENCES.broken)
    else this.#attempt(sequence, running, running.tries > MOST_TRIES / 2 ? 0 : position)
  }

  fault(sequence: number, attempt: number, fault: Fault): void {
    const running = this.#current(sequence, attempt)
    if (!running) return
    if (fault === 'unreachable') {
      running.waits++
      if (running.waits > MOST_WAITS) {
        this.#failed(sequence, SENTENCES[fault])
        return
      }
      running.cancelTimer()
      // Nothing that is in the ring counts until then.
      running.attempt = 0
      running.inFlight = 0
      running.cancelTimer = this.#options.clock.after(WAIT_MS, () =>
        this.#attempt(sequence, running, running.sent),
      )
    } else if (fault === 'out-of-memory' && running.ids.length > running.ask.ids.length) {
      this.#end(sequence, 'length')
    } else this.#failed(sequence, SENTENCES[fault])
  }

  /** A plan is over, whatever is still in its ring. */
  ended(epoch: Epoch): void {
    for (const [sequence, running] of [...this.#running])
      if (compareEpochs(running.epoch, epoch) === 0)
        this.#attempt(sequence, running, running.sent)
  }

  close(): void {
    for (const running of this.#running.values()) running.cancelTimer()
    this.#running.clear()
    this.#known.clear()
  }

  #current(sequence: number, attempt: number): Running | null {
    const running = this.#running.get(sequence)
    return running && running.attempt === attempt && attempt > 0 ? running : null
  }

  /** Feeds the sequence anew from row `from` on, or from the last row there is. */
  #attempt(sequence: number, running: Running, from: number): void {
    const known = this.#known.get(sequence)
    if (!known) return
    const start = Math.min(from, known.ids.length, running.ids.length - 1)
    known.ids.length = start
    known.fed.length = start
    if (this.#successor) {
      this.#give(sequence)
      return
    }
    running.epoch = this.#epoch
    running.attempt = ++this.#attempts
    running.sent = start
    running.inFlight = 0
    this.#watch(sequence, running)
    this.#feed(sequence, running)
    this.#checkMoved()
  }

  /** Whether the plan that it is fed under is over. */
  #isOver({ epoch }: Running): boolean {
    return this.#successor !== null || compareEpochs(epoch, this.#epoch) !== 0
  }

  /** Lets sequences go over to the newest plan. */
  #move(): void {
    this.#isMoving = true
    for (const [sequence, running] of [...this.#running]) {
      if (running.inFlight > 0) this.#watch(sequence, running)
      // It waits for a link, which the newest plan may not need.
      else if (this.#isOver(running)) this.#attempt(sequence, running, running.sent)
    }
    this.#checkMoved()
  }

  #checkMoved(): void {
    const over = [...this.#running.values()].some((running) => this.#isOver(running))
    if (!this.#isMoving || over) return
    this.#isMoving = false
    this.#options.moved()
  }

  /** To the next starter. */
  #give(sequence: number): void {
    const known = this.#known.get(sequence)
    const running = this.#running.get(sequence)
    running?.cancelTimer()
    this.#running.delete(sequence)
    this.#known.delete(sequence)
    if (known) this.#successor?.(stateOf(known, running), sequence)
    this.#checkMoved()
  }

  /** Tokens that the asking device lacks, or may lack. */
  #repeat(sequence: number, running: Running, answered: number): void {
    const { ask, ids, epoch, question } = running
    const start = ask.ids.length - ask.answered
    const device = this.#known.get(sequence)?.asker
    if (device === undefined) return
    for (const [i, id] of ids.slice(start + answered).entries()) {
      const message = { kind: 'token', index: answered + i, id } as const
      this.#options.answer(epoch, { device, sequence, question }, message)
    }
  }

  #feed(sequence: number, running: Running): void {
    const known = this.#known.get(sequence)
    if (!known) return
    if (this.#isOver(running)) {
      if (running.inFlight === 0) this.#attempt(sequence, running, running.sent)
      return
    }
    const { ids, epoch } = running
    while (running.sent < ids.length && running.inFlight < WINDOW) {
      const position = running.sent
      const rows = Math.min(this.#options.chunkRows, ids.length - position)
      running.sent += rows
      running.inFlight++
      const last = running.sent === ids.length
      const guesses = last && rows === 1 ? this.#guess(running) : []
      const chunk = [...ids.slice(position, position + rows), ...guesses]
      const { attempt } = running
      const base = known.fed[position - 1] ?? 0
      known.ids.push(...chunk)
      known.fed.push(...chunk.map(() => attempt))
      const size = { position, rows: chunk.length }
      const draft = guesses.length > 0
      this.#options.begin(epoch, { sequence, attempt, base, ...size, last, draft }, chunk)
    }
  }

  #drafterFor({ speculate }: AskMessage): Running['drafter'] {
    if (!this.#canDraft || speculate === false) return null
    return this.#options.drafter(this.#costs)
  }

  /** What a decoding step tries beyond the row that is due. */
  #guess({ ask, ids, drafter, firstAt }: Running): readonly number[] {
    if (!drafter || firstAt === null) return []
    const left = ask.maxTokens - (ids.length - ask.ids.length + ask.answered)
    return drafter.next(ids, Math.min(left, this.#context - ids.length) - 1)
  }

  /** Rows of wrong guesses are overwritten; a new attempt, so that a lost frame is noticed. */
  #rollBack(running: Running, known: Known): void {
    const right = commonPrefix(known.ids, running.ids)
    running.sent = right
    if (right === known.ids.length) return
    known.ids.length = right
    known.fed.length = right
    running.attempt = ++this.#attempts
  }

  #watch(sequence: number, running: Running): void {
    running.cancelTimer()
    const { clock } = this.#options
    running.cancelTimer = this.#isOver(running)
      ? clock.after(DRAIN_MS, () => this.#attempt(sequence, running, running.sent))
      : clock.after(SILENCE_MS, () => {
          this.#failed(sequence, 'The other phones did not answer in time; ask again.')
        })
  }

  #end(sequence: number, reason: 'eos' | 'length' | 'stopped', eos?: number): void {
    const running = this.#running.get(sequence)
    if (!running) return
    const { ask, ids, reused, askedAt, firstAt, laps } = running
    const now = this.#options.clock.now()
    const began = firstAt ?? now
    const stats = {
      promptTokens: ask.ids.length - ask.answered,
      reusedTokens: Math.min(reused, ask.ids.length - ask.answered),
      newTokens: ids.length - ask.ids.length + ask.answered,
      laps,
      prefillMs: began - askedAt,
      decodeMs: now - began,
    }
    this.#tell(sequence, {
      kind: 'end',
      reason,
      ...(eos !== undefined && { eos }),
      stats,
    })
    this.#finish(sequence)
  }

  #failed(sequence: number, message: string): void {
    this.#tell(sequence, { kind: 'failed', message })
    this.#finish(sequence)
  }

  #tell(sequence: number, message: AnswerMessage): void {
    const device = this.#known.get(sequence)?.asker
    const running = this.#running.get(sequence)
    if (device === undefined || !running) return
    const { epoch, question } = running
    this.#options.answer(epoch, { device, sequence, question }, message)
  }

  #finish(sequence: number): void {
    this.#running.get(sequence)?.cancelTimer()
    this.#running.delete(sequence)
    if (this.#successor) this.#give(sequence)
    else this.#checkMoved()
  }

  #forgetOldest(): void {
    for (const sequence of this.#known.keys()) {
      if (this.#known.size <= MOST_KNOWN) return
      if (this.#running.has(sequence)) continue
      this.#known.delete(sequence)
      this.#options.forget(sequence)
    }
  }
}
