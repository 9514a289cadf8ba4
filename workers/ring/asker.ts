/**
 * The asking device's side of each answer: keeps what was asked and what came, so that a new
 * starter can go on from there; nothing on screen is lost or shown twice.
 */
import type { Clock } from './clock.ts'
import { compareEpochs } from './epoch.ts'
import type { AnswerMessage, AskMessage } from './messages.ts'
import type { AnswerEvent, AnswerStats, Ask, Epoch } from './types.ts'

/** How long a starter may be missing: a new plan may have weights to load first. */
export const WAIT_FOR_STARTER_MS = 120_000
/** Reading a long prompt on slow phones takes minutes; the starter watches the ring itself. */
const SILENCE_MS = 600_000
/** Times that a hole in the answer is asked for again, between two tokens. */
const MOST_REPEATS = 5

export interface AskerOptions {
  readonly clock: Clock
  /** False: no plan is active, or its starter has no link to here. */
  sendAsk(sequence: number, ask: AskMessage): boolean
  sendStop(sequence: number): boolean
  sendForget(sequence: number): boolean
}

interface Open {
  readonly ask: Ask
  /** An answer to an earlier one of the same sequence may still be on its way. */
  readonly question: number
  readonly onEvent: (event: AnswerEvent) => void
  readonly generated: number[]
  repeats: number
  /** By plan: index of the newest token that came behind a hole. */
  readonly beyond: Map<string, number>
  /** Times that it was sent to a starter. */
  sends: number
  firstAt: number | null
  /** The newest token: when it came, and from which plan. */
  newest: { readonly at: number; readonly epoch: Epoch } | null
  /** Longest time between two tokens of different plans. */
  pauseMs: number | null
  isStopped: boolean
  cancelTimer: () => void
}

interface Ending {
  readonly reason: 'eos' | 'length' | 'stopped'
  readonly eos?: number | undefined
  readonly stats: AnswerStats
}

export class Asker {
  readonly #options: AskerOptions
  readonly #open = new Map<number, Open>()
  #questions = 0

  constructor(options: AskerOptions) {
    this.#options = options
  }

  /** Answers that have not ended. */
  get open(): number {
    return this.#open.size
  }

  ask(ask: Ask, onEvent: (event: AnswerEvent) => void): void {
    this.#close(ask.sequence)
    const open: Open = {
      ask,
      question: ++this.#questions,
      onEvent,
      generated: [],
      repeats: 0,
      beyond: new Map<string, number>(),
      sends: 0,
      firstAt: null,
      newest: null,
      pauseMs: null,
      isStopped: false,
      cancelTimer: () => undefined,
    }
    this.#open.set(ask.sequence, open)
    this.#send(open)
  }

  stop(sequence: number): void {
    const open = this.#open.get(sequence)
    if (!open) return
    open.isStopped = true
    if (this.#options.sendStop(sequence)) return
    // There is no starter that could say so.
    this.#end(open, { reason: 'stopped', stats: ownStats(open) })
  }

  forget(sequence: number): void {
    this.#close(sequence)
    this.#options.sendForget(sequence)
  }

  /** The plan or the link to the starter is new: asks for the rest of every answer. */
  resume(): void {
    for (const open of this.#open.values()) this.#send(open)
  }

  /** The starter is gone; a new plan is due. */
  lost(): void {
    for (const open of this.#open.values()) this.#wait(open)
  }

  /** From the starter of a plan, to that question. */
  receive(
    sequence: number,
    question: number,
    message: AnswerMessage,
    epoch: Epoch,
  ): void {
    const open = this.#open.get(sequence)
    if (open?.question !== question) return
    const { generated } = open
    switch (message.kind) {
      case 'token':
        if (message.index > generated.length) this.#missed(open, message.index, epoch)
        if (message.index !== generated.length) return
        this.#time(open, epoch)
        open.repeats = 0
        open.beyond.clear()
        generated.push(message.id)
        this.#watch(open, SILENCE_MS)
        open.onEvent({ kind: 'token', sequence, index: message.index, id: message.id })
        return
      case 'end':
        if (message.stats.newTokens > generated.length) this.#repeat(open)
        else this.#end(open, message)
        return
      case 'failed':
        this.#fail(open, message.message)
    }
  }

  close(): void {
    for (const sequence of [...this.#open.keys()]) this.#close(sequence)
  }

  #send(open: Open): void {
    const { ask, generated, question } = open
    const message: AskMessage = {
      question,
      ids: [...ask.ids, ...generated],
      answered: generated.length,
      maxTokens: ask.maxTokens,
      sampling: ask.sampling,
      ...(ask.speculate !== undefined && { speculate: ask.speculate }),
    }
    if (this.#options.sendAsk(ask.sequence, message)) {
      open.sends++
      // The starter that was told to stop may be another one.
      if (open.isStopped) this.#options.sendStop(ask.sequence)
      this.#watch(open, SILENCE_MS)
    } else this.#wait(open)
  }

  /** What goes on behind a hole that was asked for is on its way already. */
  #missed(open: Open, index: number, { term, number }: Epoch): void {
    const plan = `${term}.${number}`
    const last = open.beyond.get(plan)
    open.beyond.set(plan, index)
    if (index - 1 !== last) this.#repeat(open)
  }

  #repeat(open: Open): void {
    open.repeats++
    if (open.repeats <= MOST_REPEATS) this.#send(open)
    else this.#fail(open, 'Parts of the answer were lost on the way; ask again.')
  }

  #wait(open: Open): void {
    this.#watch(open, WAIT_FOR_STARTER_MS)
  }

  #watch(open: Open, ms: number): void {
    open.cancelTimer()
    open.cancelTimer = this.#options.clock.after(ms, () => {
      this.#fail(open, 'The phone that leads the answer cannot be reached; ask again.')
    })
  }

  #end(open: Open, { reason, eos, stats }: Ending): void {
    this.#close(open.ask.sequence)
    const { sequence } = open.ask
    const own = open.sends > 1 ? this.#withOwn(open, stats) : stats
    open.onEvent({
      kind: 'end',
      sequence,
      reason,
      ...(eos !== undefined && { eos }),
      stats: own,
    })
  }

  /** Of an answer that moved, the last starter may know a part only. */
  #withOwn({ firstAt, pauseMs, generated }: Open, stats: AnswerStats): AnswerStats {
    const newTokens = generated.length
    if (firstAt === null) return { ...stats, newTokens }
    const decodeMs = this.#options.clock.now() - firstAt
    return { ...stats, newTokens, decodeMs, ...(pauseMs !== null && { pauseMs }) }
  }

  #time(open: Open, epoch: Epoch): void {
    const at = this.#options.clock.now()
    open.firstAt ??= at
    const { newest, pauseMs } = open
    if (newest && compareEpochs(newest.epoch, epoch) !== 0)
      open.pauseMs = Math.max(pauseMs ?? 0, at - newest.at)
    open.newest = { at, epoch }
  }

  #fail(open: Open, message: string): void {
    const { sequence } = open.ask
    this.#close(sequence)
    open.onEvent({ kind: 'failed', sequence, message })
  }

  #close(sequence: number): void {
    this.#open.get(sequence)?.cancelTimer()
    this.#open.delete(sequence)
  }
}

function ownStats({ ask, generated }: Open): AnswerStats {
  const { length: promptTokens } = ask.ids
  const newTokens = generated.length
  return { promptTokens, reusedTokens: 0, newTokens, laps: 0, prefillMs: 0, decodeMs: 0 }
}
