/** What is told about layers that moved: one sentence, with the reason. */
import { movesBetween, type Move } from '../../model-split/plan/rebalance.ts'
import type { RingStage } from '../../workers/ring/types.ts'
import { asLine, type Facts } from './protocol.ts'

/** Moves that a sentence names. */
const NAMED = 2
/** How much slower than usual a device must be to be named as the reason. */
export const SLOWED = 1.5
const LONGEST = 300

export type NameOf = (device: string) => string

/**
 * Null where no layer changes hands.
 * @param why the reason, without a full stop; null: nothing to say.
 */
export function moveNote(
  before: readonly RingStage[],
  after: readonly RingStage[],
  why: string | null,
  nameOf: NameOf,
): string | null {
  const moves = movesBetween(before, after)
  if (moves.length === 0) return null
  const reason = why === null ? '' : `: ${why}`
  if (before.length === 0)
    return asLine(`${dealtWords(after, nameOf)}${reason}.`, LONGEST)
  const named = moves.slice(0, NAMED).map((move) => moveWords(move, nameOf))
  const rest = moves.slice(NAMED).reduce((sum, { from, to }) => sum + to - from, 0)
  if (rest > 0) named.push(rest === 1 ? 'one more' : `${rest} more`)
  return asLine(`Moved ${listOf(named)}${reason}.`, LONGEST)
}

function dealtWords(stages: readonly RingStage[], nameOf: NameOf): string {
  const layers = stages.at(-1)?.to ?? 0
  return `Dealt ${layers} layers to ${listOf(stages.map(({ device }) => nameOf(device)))}`
}

function moveWords({ from, to, giver, taker }: Move, nameOf: NameOf): string {
  const layers = to - from === 1 ? `layer ${to}` : `layers ${from + 1}–${to}`
  const origin = giver === null ? '' : ` from ${nameOf(giver)}`
  return `${layers}${origin} to ${nameOf(taker)}`
}

/** Why a better plan is better: the device that got worse most, or that there is more speed. */
export function causeOf(
  stages: readonly RingStage[],
  facts: ReadonlyMap<string, Facts>,
  gain: number,
  nameOf: NameOf,
): string {
  let worst: { readonly device: string; readonly slowdown: number } | null = null
  for (const { device } of stages) {
    const slowdown = facts.get(device)?.slowdown ?? 1
    if (slowdown >= SLOWED && slowdown > (worst?.slowdown ?? 0))
      worst = { device, slowdown }
  }
  if (worst) {
    const hidden = facts.get(worst.device)?.visible === false
    const times = `${nameOf(worst.device)} slowed down ${timesWords(worst.slowdown)}`
    return hidden ? `${times} as its page is hidden` : times
  }
  return `as measured, tokens come ${Math.round(100 * gain)} % sooner this way`
}

function timesWords(ratio: number): string {
  return `${ratio < 2.5 ? ratio.toFixed(1).replace(/\.0$/, '') : Math.round(ratio)} times`
}

/** "a, b and c". */
export function listOf(words: readonly string[]): string {
  const last = words.at(-1) ?? ''
  return words.length < 2 ? last : `${words.slice(0, -1).join(', ')} and ${last}`
}
