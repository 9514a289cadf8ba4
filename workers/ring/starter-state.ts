/** What a starter knows of its sequences. */
import type { Drafter } from './drafts.ts'
import type { AskMessage, StateMessage } from './messages.ts'
import type { Epoch } from './types.ts'

/** Whose question is answered. */
export interface Asking {
  readonly device: string
  readonly sequence: number
  readonly question: number
}

/** What the caches of the ring hold of a sequence. */
export interface Known {
  readonly asker: string
  readonly ids: number[]
  /** Attempt that fed each row. */
  readonly fed: number[]
}

export interface Running {
  /** The plan that its rows are fed under. */
  epoch: Epoch
  readonly ask: AskMessage
  /** The newest that asks for this answer. */
  question: number
  readonly ids: number[]
  readonly reused: number
  /** Null: one lap per token. */
  readonly drafter: Pick<Drafter, 'next' | 'heard'> | null
  attempt: number
  /** Rows sent in this attempt or before; guesses count once they held. */
  sent: number
  inFlight: number
  /** Since the newest token: rows refused, and links missing. */
  tries: number
  waits: number
  readonly askedAt: number
  firstAt: number | null
  laps: number
  lapAt: number
  cancelTimer: () => void
}

/** Whether this question is being answered: then asking again changes nothing. */
export function isSame({ ask, ids }: Running, again: AskMessage): boolean {
  return (
    ask.ids.length - ask.answered === again.ids.length - again.answered &&
    again.ids.length <= ids.length &&
    again.ids.every((id, i) => id === ids[i]) &&
    ask.maxTokens === again.maxTokens &&
    JSON.stringify(ask.sampling) === JSON.stringify(again.sampling)
  )
}

export function stateOf({ asker, ids, fed }: Known, running?: Running): StateMessage {
  const starts = fed.flatMap((attempt, row): [number, number][] =>
    attempt === fed[row - 1] ? [] : [[row, attempt]],
  )
  const common = { asker, rows: ids.length, fed: starts }
  if (!running) return { ...common, ids, running: null }
  const { ask, question } = running
  const answered = running.ids.length - ask.ids.length + ask.answered
  const { maxTokens, sampling, speculate } = ask
  const rest = { question, answered, maxTokens, sampling }
  const moving = speculate === undefined ? rest : { ...rest, speculate }
  return { ...common, ids: running.ids, running: moving }
}

export function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const end = Math.min(a.length, b.length)
  for (let i = 0; i < end; i++) if (a[i] !== b[i]) return i
  return end
}
