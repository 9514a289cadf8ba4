/**
 * When layers move in a room that works: a better plan must be seen for a while, pay for the
 * move, and prove itself afterwards, else it is taken back. Each move makes the next one wait
 * longer, so a device that is now fast and now slow cannot make layers wander. Pure.
 */
import type { Stage } from './types.ts'

/** A better plan must be seen for so long, ms: longer than a hiccup, a few answers' laps. */
export const CONFIRM_MS = 700
/** After a plan was activated its measurements settle, ms. */
export const SETTLE_MS = 2500
/** After a first move, ms; doubled with each further one. */
export const COOLDOWN_MS = 10_000
const MOST_DOUBLINGS = 6
/** Without a move for so long the next one counts as the first, ms. */
export const CALM_MS = 10 * 60_000
/** A move must have paid for itself after so many tokens: about an answer. */
export const PAYS_WITHIN = 200
/** Work under a new plan before it is judged, ms. */
export const CHECK_MS = 3000
/** A plan stays only if tokens take less time than before by at least this share. */
export const LEAST_GAIN = 0.05

/** What is known at a moment, times of one token in ms. */
export interface Seen {
  readonly now: number
  readonly current: readonly Stage[]
  /** What the planner would do, or null where it would keep the current plan. */
  readonly proposal: readonly Stage[] | null
  /** By the cost model and today's measurements. */
  readonly currentMs: number
  readonly proposalMs: number
  /** The current plan as measured, or null. */
  readonly lapMs: number | null
  /** Time that answers lose while layers move. */
  readonly moveMs: number
  /** A device has no room for both plans, so answers stop until it has loaded. */
  readonly stops: boolean
  /** Whether answers run. */
  readonly working: boolean
}

/** A move that has not proved itself. */
interface Trial {
  readonly from: readonly Stage[]
  readonly to: readonly Stage[]
  readonly beforeMs: number
  readonly beforeLapMs: number | null
  /** Since when answers have run under the plan; null: they don't now. */
  readonly workingSince: number | null
  readonly workedMs: number
}

export interface Balance {
  /** When a plan was last activated or decided on. */
  readonly movedAt: number
  /** Since when a better plan is seen. */
  readonly since: number | null
  /** Moves since the last calm; taken back ones count twice. */
  readonly moves: number
  readonly trial: Trial | null
}

export const CALM: Balance = { movedAt: -Infinity, since: null, moves: 0, trial: null }

export type Verdict =
  | { readonly kind: 'stay' }
  | { readonly kind: 'move'; readonly stages: readonly Stage[] }
  | { readonly kind: 'back'; readonly stages: readonly Stage[] }

const STAY: Verdict = { kind: 'stay' }

export function rebalance(
  seen: Seen,
  balance: Balance,
): { readonly verdict: Verdict; readonly balance: Balance } {
  const { now, proposal } = seen
  const stay = (change: Partial<Balance>) => ({
    verdict: STAY,
    balance: { ...balance, ...change },
  })
  if (now - balance.movedAt < SETTLE_MS) return stay({ since: null })
  if (balance.trial && sameSpans(balance.trial.to, seen.current)) {
    const trial = worked(balance.trial, seen)
    if (trial.workedMs < CHECK_MS) return stay({ trial, since: null })
    if (isBetter(trial, seen)) return stay({ trial: null })
    return {
      verdict: { kind: 'back', stages: trial.from },
      balance: { movedAt: now, since: null, moves: balance.moves + 2, trial: null },
    }
  }
  if (!proposal) return stay({ since: null, trial: null })
  const moves = now - balance.movedAt > CALM_MS ? 0 : balance.moves
  const cooldown =
    moves === 0 ? 0 : COOLDOWN_MS * 2 ** Math.min(moves - 1, MOST_DOUBLINGS)
  const since = balance.since ?? now
  const pays = (seen.currentMs - seen.proposalMs) * PAYS_WITHIN > seen.moveMs
  const isEarly = now - balance.movedAt < cooldown || now - since < CONFIRM_MS
  if (isEarly || !pays || (seen.stops && seen.working)) return stay({ since })
  const trial: Trial = {
    from: seen.current,
    to: proposal,
    beforeMs: seen.currentMs,
    beforeLapMs: seen.lapMs,
    workingSince: null,
    workedMs: 0,
  }
  return {
    verdict: { kind: 'move', stages: proposal },
    balance: { movedAt: now, since: null, moves: moves + 1, trial },
  }
}

/** A plan was activated, for whatever reason: what is measured begins anew. */
export function activated(balance: Balance, now: number): Balance {
  return { ...balance, movedAt: now, since: null }
}

function worked(trial: Trial, { now, working }: Seen): Trial {
  const since = trial.workingSince
  return {
    ...trial,
    workedMs: trial.workedMs + (working && since !== null ? now - since : 0),
    workingSince: working ? now : null,
  }
}

/** Laps are compared where both were measured, else what the cost model says of both. */
function isBetter({ beforeMs, beforeLapMs }: Trial, { currentMs, lapMs }: Seen): boolean {
  const least = 1 - LEAST_GAIN
  if (beforeLapMs !== null && lapMs !== null) return lapMs <= beforeLapMs * least
  return currentMs <= beforeMs * least
}

export function sameSpans(a: readonly Stage[], b: readonly Stage[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ device, from, to }, i) => {
      const other = b[i]
      return other?.device === device && other.from === from && other.to === to
    })
  )
}

/** Layers `[from, to)` that go from a device to another. */
export interface Move {
  readonly from: number
  readonly to: number
  /** Null where nobody had them, or whoever had them has left. */
  readonly giver: string | null
  readonly taker: string
}

/** What changes hands between two plans, in the order of the layers. */
export function movesBetween(before: readonly Stage[], after: readonly Stage[]): Move[] {
  const holder = (stages: readonly Stage[], layer: number) =>
    stages.find(({ from, to }) => layer >= from && layer < to)?.device ?? null
  const moves: Move[] = []
  const layers = after.at(-1)?.to ?? 0
  for (let layer = 0; layer < layers; layer++) {
    const giver = holder(before, layer)
    const taker = holder(after, layer)
    if (taker === null || giver === taker) continue
    const last = moves.at(-1)
    if (last?.to === layer && last.giver === giver && last.taker === taker)
      moves[moves.length - 1] = { ...last, to: layer + 1 }
    else moves.push({ from: layer, to: layer + 1, giver, taker })
  }
  return moves
}
