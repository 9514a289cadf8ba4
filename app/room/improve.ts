/** Whether a plan that works should give way to another: newcomers, lost memory, drift. */
import type { Manifest } from '../../model-split/manifest.ts'
import { rebalance, sameSpans } from '../../model-split/plan/rebalance.ts'
import type { RingPlan, RingStage } from '../../workers/ring/types.ts'
import type { Decision, Memory, Situation } from './coordinator.ts'
import type { DealDevice, Dealt } from './deal.ts'
import { memberOf, sameEpoch } from './membership.ts'
import { namesIn } from './names.ts'
import { causeOf, listOf, type NameOf } from './notes.ts'
import { runningIn } from './running.ts'

/** Devices that join one after another are dealt in together, ms. */
export const JOIN_QUIET_MS = 1000
/** A better plan makes tokens come sooner by this share. */
export const TUNE_GAIN = 0.1

export type DealtPlan = Extract<Dealt, { kind: 'plan' }>

export function improve(
  situation: Situation,
  serving: RingPlan,
  dealt: DealtPlan,
  memory: Memory,
): Decision {
  const { now, facts } = situation
  const old = serving.stages
  const joined = dealt.stages
    .map(({ device }) => device)
    .filter((device) => !old.some((stage) => stage.device === device))
  const over = old.find(({ device }) => {
    const known = facts.get(device)
    return known !== undefined && known.memoryUsed > known.memoryBudget
  })
  if (over && !sameSpans(old, dealt.stages)) {
    const why = `${nameIn(situation)(over.device)} lends less memory`
    return planned(situation, dealt.stages, dealt, memory, why)
  }
  if (dealt.told) {
    if (sameSpans(old, dealt.stages)) return { event: null, memory }
    return planned(situation, dealt.stages, dealt, memory, 'they were dealt by hand')
  }
  if (joined.length > 0) {
    const names = [...joined].sort().join()
    const wanted =
      memory.wanted?.devices === names ? memory.wanted : { since: now, devices: names }
    if (now - wanted.since < JOIN_QUIET_MS)
      return { event: null, memory: { ...memory, wanted } }
    return planned(situation, dealt.stages, dealt, memory, cameWords(situation, joined))
  }
  return tune(situation, serving, dealt, { ...memory, wanted: null })
}

function tune(
  situation: Situation,
  serving: RingPlan,
  dealt: DealtPlan,
  memory: Memory,
): Decision {
  const { now, facts, state } = situation
  const current = serving.stages
  const currentMs = dealt.nowMs ?? Infinity
  const gain = 1 - dealt.ms / currentMs
  const lap = facts.get(current[0]?.device ?? '')?.lap
  const { verdict, balance } = rebalance(
    {
      now,
      current,
      proposal:
        sameSpans(current, dealt.stages) || gain < TUNE_GAIN ? null : dealt.stages,
      currentMs,
      proposalMs: dealt.ms,
      lapMs: lap && sameEpoch(lap.epoch, serving.epoch) ? lap.ms : null,
      moveMs: dealt.moveMs,
      stops: dealt.stops ?? false,
      working: runningIn(situation) > 0,
    },
    memory.balance,
  )
  const next = { ...memory, balance }
  if (verdict.kind === 'stay') return { event: null, memory: next }
  const nameOf = nameIn(situation)
  const proven = memory.load.load === memory.plannedFor
  if (verdict.kind === 'move') {
    const why = proven
      ? causeOf(current, facts, gain, nameOf)
      : memory.load.load === 'stage'
        ? 'several answers run at once'
        : 'one answer runs at a time'
    return planned(situation, verdict.stages, dealt, next, why)
  }
  const there = verdict.stages.every(({ device }) => memberOf(state, device))
  if (!there) return { event: null, memory: next }
  const why = 'tokens had not come sooner'
  const decision = planned(situation, verdict.stages, dealt, next, why)
  return { ...decision, memory: { ...decision.memory, firm: true } }
}

/** A plan is made, and why, for people; null: nothing to say. */
export function planned(
  { now }: Situation,
  stages: readonly RingStage[],
  { leftOut }: DealtPlan,
  memory: Memory,
  why: string | null,
): Decision {
  return {
    event: { kind: 'plan', stages, leftOut },
    memory: {
      ...memory,
      plannedAt: now,
      plannedFor: memory.load.load,
      wanted: null,
      why,
      firm: false,
    },
  }
}

/** Whether the plan that is ready is still better than the one that serves. */
export function isStillWanted(
  { manifest, deal }: { manifest: Manifest; deal: Situation['deal'] },
  serving: RingPlan,
  devices: readonly DealDevice[],
  { load, firm }: Memory,
): { readonly wanted: boolean; readonly dealt: Dealt } {
  const dealt = deal(manifest, devices, serving.stages, load.load)
  const kept = dealt.kind === 'plan' && sameSpans(dealt.stages, serving.stages)
  return { wanted: firm || !kept, dealt }
}

/** How a device is called in notes. */
export function nameIn({ state, facts }: Pick<Situation, 'state' | 'facts'>): NameOf {
  const names = namesIn(state.members, facts)
  return (device) => names.get(device) || 'a phone'
}

function cameWords(situation: Situation, devices: readonly string[]): string {
  const names = devices.map(nameIn(situation))
  return `${listOf(names)} ${devices.length === 1 ? 'takes' : 'take'} part`
}
