/** The ring as one device sees it: who runs what, and what travels. */
import type { Span } from '../../model-split/span.ts'

/** Plan number; a higher term wins, then a higher number. */
export interface Epoch {
  readonly term: number
  readonly number: number
}

/** The plan as the ring needs it. Device ids are the room's member ids. */
export interface RingPlan {
  readonly epoch: Epoch
  /** In ring order, starter first; spans of layers follow one another and cover all. */
  readonly stages: readonly RingStage[]
}

export interface RingStage {
  readonly device: string
  /** Layers only; the first stage also holds embedding and head. May be empty there. */
  readonly from: number
  readonly to: number
  /**
   * Overlap: layers outside the span, ascending, whose weights are to be held as well though
   * they run in no lap. Not there before it is dealt.
   */
  readonly hold?: readonly number[]
}

/** Spans that a stage loads: its layers, and on the starter embedding and head. */
export function spansOf(plan: RingPlan, index: number, layers: number): Span[] {
  const stage = plan.stages[index]
  if (!stage) throw new Error(`The plan has no stage ${index}.`)
  const { from, to } = stage
  if (index !== 0) return [{ from, to, embed: false, head: false }]
  if (from === 0 && to === layers) return [{ from, to, embed: true, head: true }]
  return [
    { from, to, embed: true, head: false },
    { from: layers, to: layers, embed: false, head: true },
  ]
}

/** How the next token is chosen. `temperature` 0 is greedy. */
export interface Sampling {
  readonly temperature: number
  /** 0: off. */
  readonly topK: number
  /** 1: off. */
  readonly topP: number
  /** 1: off. */
  readonly repetitionPenalty: number
  readonly seed: number
}

export const GREEDY: Sampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  repetitionPenalty: 1,
  seed: 0,
}

/** A question on its way to the starter. */
export interface Ask {
  /** Unique in the room: (member's join number << 16) | counter of the asking device. */
  readonly sequence: number
  /** The whole conversation so far, as token ids. */
  readonly ids: readonly number[]
  readonly maxTokens: number
  readonly sampling: Sampling
  /** False: one lap per token. Drafts change the time that tokens take, never the tokens. */
  readonly speculate?: boolean
}

/** What the starter tells the asking device. */
export type AnswerEvent =
  | {
      readonly kind: 'token'
      readonly sequence: number
      readonly index: number
      readonly id: number
    }
  | {
      readonly kind: 'end'
      readonly sequence: number
      readonly reason: 'eos' | 'length' | 'stopped'
      /** The token that ended the answer, where the model chose to; it is not shown. */
      readonly eos?: number
      readonly stats: AnswerStats
    }
  | { readonly kind: 'failed'; readonly sequence: number; readonly message: string }

export interface AnswerStats {
  readonly promptTokens: number
  /** Prompt rows whose caches were there already. */
  readonly reusedTokens: number
  readonly newTokens: number
  /** Trips around the ring after the first token; fewer than tokens where drafts held. */
  readonly laps: number
  readonly prefillMs: number
  readonly decodeMs: number
  /** Longest time between two tokens of different plans, where the answer moved. */
  readonly pauseMs?: number
}
