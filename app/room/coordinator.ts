/**
 * What the coordinator does next: a pure function of what it knows. It is asked again after
 * each event and each change, so it plans one step at a time.
 */
import type { Manifest } from '../../model-split/manifest.ts'
import {
  activated,
  CALM,
  CONFIRM_MS,
  type Balance,
} from '../../model-split/plan/rebalance.ts'
import type { RingPlan } from '../../workers/ring/types.ts'
import type { Deal, DealDevice, Load } from './deal.ts'
import { improve, isStillWanted, JOIN_QUIET_MS, nameIn, planned } from './improve.ts'
import { followLoad, ONE_ANSWER, type LoadMemory } from './load.ts'
import {
  isWhole,
  memberOf,
  sameEpoch,
  type RoomEvent,
  type RoomState,
} from './membership.ts'
import { moveNote } from './notes.ts'
import { dealOverlap } from './overlap.ts'
import { SLOW } from './pace.ts'
import { runningIn } from './running.ts'
import type { Facts } from './protocol.ts'
import { SLOTS } from './secret.ts'

/** Before the first plan of a room nobody downloads for so long after the last join, ms. */
export const GATHER_MS = 1500
/** The same for a device that is still alone. */
export const ALONE_MS = 3000
/** The first plan waits at most so long for the devices that were announced, ms. */
export const EXPECT_MS = 60_000
/** Without any progress for so long a device is dealt out, ms. */
export const STALL_MS = 90_000

export interface Situation {
  readonly state: RoomState
  readonly facts: ReadonlyMap<string, Facts>
  /** When the state or the preparation of a device last changed. */
  readonly heard: ReadonlyMap<string, number>
  /** Devices with a proven link and their page load, this device included. */
  readonly linked: ReadonlyMap<string, string>
  /** Devices that left without a goodbye. */
  readonly lost: ReadonlySet<string>
  readonly manifest: Manifest | null
  readonly deal: Deal
  /** Devices that the first plan waits for; null: whoever comes soon; 0: it does not wait. */
  readonly expected: number | null
  readonly now: number
  /** Milliseconds since 1970, for notes. */
  readonly today: number
  readonly salt: number
}

/** What the coordinator remembers between two questions; nothing that must survive it. */
export interface Memory {
  /** When it last made or activated a plan. */
  readonly plannedAt: number
  /** The load that this plan was made for. */
  readonly plannedFor: Load
  /** Why it was made, for people; null: nothing to say. */
  readonly why: string | null
  /** It is activated even where the one that serves would be kept. */
  readonly firm: boolean
  readonly load: LoadMemory
  readonly balance: Balance
  /** Since when another plan is wanted, and for which devices. */
  readonly wanted: { readonly since: number; readonly devices: string } | null
  /** Since when no answer has run. */
  readonly quietSince: number | null
  /** What overlap layers were last dealt for. */
  readonly heldFor: string | null
  /** Who is there before the first plan serves, since when, and who that plan was made for. */
  readonly gathered: {
    readonly since: number
    readonly devices: string
    readonly planned: string | null
  } | null
}

export const NO_MEMORY: Memory = {
  plannedAt: -Infinity,
  plannedFor: 'lap',
  why: null,
  firm: false,
  load: ONE_ANSWER,
  balance: CALM,
  wanted: null,
  quietSince: null,
  heldFor: null,
  gathered: null,
}

export interface Decision {
  /** What to fold and send, or null: nothing to do now. */
  readonly event: RoomEvent | null
  readonly memory: Memory
}

/** The next moment at which it may do what it now waits with; null: it waits with nothing. */
export function wakeAt(
  { balance, wanted, gathered }: Memory,
  now: number,
): number | null {
  const ends = [
    (balance.since ?? -Infinity) + CONFIRM_MS,
    (wanted?.since ?? -Infinity) + JOIN_QUIET_MS,
    (gathered?.since ?? -Infinity) + GATHER_MS,
    (gathered?.since ?? -Infinity) + ALONE_MS,
  ].filter((end) => end > now)
  return ends.length > 0 ? Math.min(...ends) : null
}

export function nextAction(situation: Situation, memory: Memory): Decision {
  const { state, linked, lost, salt } = situation
  const gone = state.members.filter((member) => !linked.has(member.device))
  const wait: Decision = { event: null, memory }
  if (gone.length > 0) {
    const devices = gone.map((member) => member.device)
    const unclean = devices.some((device) => lost.has(device))
    return { event: { kind: 'leave', devices, lost: unclean ? { salt } : null }, memory }
  }
  for (const [device, instance] of linked) {
    const known = memberOf(state, device)
    if (known?.instance === instance) continue
    if (!known && state.members.length >= SLOTS) continue
    return { event: { kind: 'join', device, instance }, memory }
  }
  const { manifest } = situation
  if (!manifest) return wait
  const load = followLoad(memory.load, runningIn(situation), situation.now)
  return plan(situation, manifest, { ...memory, load })
}

function plan(situation: Situation, manifest: Manifest, memory: Memory): Decision {
  const { state, deal } = situation
  const wait: Decision = { event: null, memory }

  const failure = state.next ? failureOf(situation, state.next) : null
  if (failure) return { event: { kind: 'bench', ...failure }, memory }
  const retry = state.benched.find(({ device }) => isBackFrom(situation, device))
  if (retry) return { event: { kind: 'unbench', device: retry.device }, memory }

  if (state.next && isWhole(state, state.next) && !usesBenched(state, state.next)) {
    const { epoch, stages } = state.next
    const ready = stages.every(({ device }) => {
      const prepared = situation.facts.get(device)?.prepared
      return prepared?.result === 'ready' && sameEpoch(prepared.epoch, epoch)
    })
    if (ready) return activate(situation, manifest, state.next, memory)
    // Who comes while the first plan still loads is dealt in before more is downloaded.
    const planned = memory.gathered?.planned ?? null
    const newcomers = planned !== null && planned !== namesOf(dealable(situation))
    if (state.active || !newcomers || situation.expected === 0) return wait
  }

  const devices = dealable(situation)
  const serving =
    state.active && isWhole(state, state.active) && !usesBenched(state, state.active)
      ? state.active
      : null
  // Nobody has opened the model yet, or nobody could.
  if (devices.length === 0) return wait
  const gathered = gather(situation, devices, memory)
  if (!state.active && !isGathered(situation, devices, gathered))
    return { event: null, memory: { ...memory, gathered } }
  const dealt = deal(manifest, devices, serving?.stages ?? null, memory.load.load)
  if (dealt.kind === 'thinking') return { event: null, memory: { ...memory, gathered } }
  if (dealt.kind === 'short') {
    if (serving && fits(serving, devices)) return wait
    if (state.missingBytes === dealt.missingBytes) return wait
    return { event: { kind: 'short', missingBytes: dealt.missingBytes }, memory }
  }
  // Another side may have gone on to plans of later terms than this one; epochs only grow.
  const outdated = serving?.epoch.term !== state.term
  if (!serving || state.next || outdated) {
    // Nothing serves, or what was being prepared lost a device: no time for hysteresis.
    const why = state.active && !serving ? 'a phone left' : null
    const known = { ...memory, gathered: { ...gathered, planned: gathered.devices } }
    return planned(situation, dealt.stages, dealt, known, why)
  }
  const decision = improve(situation, serving, dealt, memory)
  if (decision.event) return decision
  return dealOverlap(situation, serving, dealt, decision.memory)
}

/** All stages are ready: the plan is activated, unless what they measured speaks against it. */
function activate(
  situation: Situation,
  manifest: Manifest,
  next: RingPlan,
  memory: Memory,
): Decision {
  const { state, deal, now, today } = situation
  const { active } = state
  const { balance, why } = memory
  const serving = active && isWhole(state, active) && !usesBenched(state, active)
  if (serving && active.epoch.term === state.term) {
    const devices = dealable(situation)
    const { wanted, dealt } = isStillWanted({ manifest, deal }, active, devices, memory)
    if (dealt.kind === 'thinking') return { event: null, memory }
    // Who had no room for both has given up what it ran: all prepare that anew.
    if (!wanted && dealt.kind === 'plan')
      return {
        event: { kind: 'plan', stages: active.stages, leftOut: dealt.leftOut },
        memory: {
          ...memory,
          balance: { ...balance, trial: null },
          why: null,
          firm: true,
        },
      }
  }
  const text = moveNote(active?.stages ?? [], next.stages, why, nameIn(situation))
  return {
    event: {
      kind: 'activate',
      epoch: next.epoch,
      ...(text !== null && { note: { at: today, text } }),
    },
    memory: {
      ...NO_MEMORY,
      plannedAt: now,
      plannedFor: memory.plannedFor,
      load: memory.load,
      balance: activated(balance, now),
    },
  }
}

function gather(
  { now }: Situation,
  devices: readonly DealDevice[],
  { gathered }: Memory,
): NonNullable<Memory['gathered']> {
  const names = namesOf(devices)
  if (gathered?.devices === names) return gathered
  return { since: now, devices: names, planned: gathered?.planned ?? null }
}

/** Whether the first plan can be made: nobody has come for a while, or all are there. */
function isGathered(
  { expected, now }: Situation,
  devices: readonly DealDevice[],
  { since }: NonNullable<Memory['gathered']>,
): boolean {
  const waited = now - since
  if (expected !== null) return devices.length >= expected || waited >= EXPECT_MS
  return waited >= (devices.length === 1 ? ALONE_MS : GATHER_MS)
}

function namesOf(devices: readonly { readonly device: string }[]): string {
  return devices
    .map(({ device }) => device)
    .sort()
    .join()
}

function usesBenched(state: RoomState, plan: RingPlan): boolean {
  return plan.stages.some((stage) => isBenched(state, stage.device))
}

function isBenched(state: RoomState, device: string): boolean {
  return state.benched.some((benched) => benched.device === device)
}

function fits(plan: RingPlan, devices: readonly DealDevice[]): boolean {
  return plan.stages.every((stage) => devices.some((d) => d.device === stage.device))
}

/** The first stage that could not prepare the plan, and why. */
function failureOf(
  { state, facts, heard, now }: Situation,
  plan: RingPlan,
): { device: string; reason: string } | null {
  for (const { device } of plan.stages) {
    if (isBenched(state, device) || !memberOf(state, device)) continue
    const known = facts.get(device)
    const prepared = known?.prepared
    const current = prepared && sameEpoch(prepared.epoch, plan.epoch) ? prepared : null
    if (current?.result === 'failed') {
      const reason =
        known?.state.kind === 'failed'
          ? known.state.message
          : 'This phone could not load its layers.'
      return { device, reason }
    }
    if (current?.result !== 'ready' && now - (heard.get(device) ?? now) > STALL_MS) {
      const reason = 'This phone stopped loading its layers; reload the page there.'
      return { device, reason }
    }
  }
  return null
}

/** A benched device that says again that it has not failed may try again. */
function isBackFrom({ facts, heard, now }: Situation, device: string): boolean {
  const known = facts.get(device)
  const silent = now - (heard.get(device) ?? -Infinity) > STALL_MS
  return known?.prepared === null && known.state.kind === 'idle' && !silent
}

/** Members that can take layers: known, able, and each linked to each other one. */
function dealable({ state, facts }: Situation): DealDevice[] {
  const chosen: DealDevice[] = []
  for (const { device, join } of state.members) {
    const known = facts.get(device)
    if (!known || isBenched(state, device)) continue
    // It has not opened the model, or could not.
    if (known.state.kind === 'joining' || known.state.kind === 'failed') continue
    const reaches = (other: string): boolean =>
      known.links.some((link) => link.device === other) &&
      (facts.get(other)?.links.some((link) => link.device === device) ?? false)
    if (!chosen.every((other) => reaches(other.device))) continue
    const { engine, mode, memoryBudget, msPerLayer, msStarter, links, holds } = known
    chosen.push({
      device,
      join,
      engine,
      mode,
      memoryBudget,
      msPerLayer,
      msStarter,
      links,
      holds,
      well: known.slowdown < SLOW,
    })
  }
  return chosen
}
