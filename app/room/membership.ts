/**
 * What all devices of a room agree on: a pure fold of events. Only the coordinator makes
 * events; the folded state is what it sends, so a lost message is healed by the next one.
 * Of two states the one with the higher `(term, number)` holds.
 */
import type { Epoch, RingPlan, RingStage } from '../../workers/ring/types.ts'
import { SLOTS } from './secret.ts'

export interface MemberRecord {
  readonly device: string
  /** One page load of the device; a reload is another. */
  readonly instance: string
  /** Unique in the room's life, ascending; the lowest alive coordinates. */
  readonly join: number
}

export interface Benched {
  readonly device: string
  /** One sentence for people. */
  readonly reason: string
}

/** Who takes no layers though it could, and why. */
export interface LeftOut {
  readonly device: string
  /** One sentence for people; "it" is the device. */
  readonly why: string
}

/** What was decided about layers, for people. */
export interface Note {
  /** Milliseconds since 1970, by the coordinator's clock. */
  readonly at: number
  /** One sentence. */
  readonly text: string
}

/** As many notes are kept, the newest last. */
export const MOST_NOTES = 16

export interface RoomState {
  /**
   * Upper half: grows when devices are lost, by the number that remains, so that the larger
   * side of a partition wins. Lower 16 bits: drawn by the coordinator that began the term,
   * so that no two coordinators share one.
   */
  readonly term: number
  /** Events so far. */
  readonly number: number
  readonly coordinator: string
  /** Cut folder of the model: a path on this origin or an https URL, ending in '/'. */
  readonly model: string
  readonly nextJoin: number
  /** Plans so far. */
  readonly planNumber: number
  /** By join number. */
  readonly members: readonly MemberRecord[]
  /** The plan that serves. */
  readonly active: RingPlan | null
  /** The plan that is being prepared. */
  readonly next: RingPlan | null
  /** Bytes by which the budgets are too small, or null. */
  readonly missingBytes: number | null
  /** Devices that take no layers for now. */
  readonly benched: readonly Benched[]
  /** By the newest plan. */
  readonly leftOut: readonly LeftOut[]
  readonly notes: readonly Note[]
}

export type RoomEvent =
  | { readonly kind: 'join'; readonly device: string; readonly instance: string }
  /** `lost`: without a goodbye; a new term begins, with `salt` as its lower half. */
  | {
      readonly kind: 'leave'
      readonly devices: readonly string[]
      readonly lost: { readonly salt: number } | null
    }
  /** A member takes the coordinator's role; `gone` are those it cannot reach. */
  | {
      readonly kind: 'takeover'
      readonly device: string
      readonly instance: string
      readonly gone: readonly string[]
      readonly salt: number
    }
  | {
      readonly kind: 'plan'
      readonly stages: readonly RingStage[]
      readonly leftOut?: readonly LeftOut[]
    }
  | { readonly kind: 'activate'; readonly epoch: Epoch; readonly note?: Note }
  /** What the stages of the plan that serves are to hold beside their spans, in its order. */
  | {
      readonly kind: 'hold'
      readonly epoch: Epoch
      readonly holds: readonly (readonly number[])[]
    }
  | { readonly kind: 'short'; readonly missingBytes: number | null }
  | { readonly kind: 'bench'; readonly device: string; readonly reason: string }
  | { readonly kind: 'unbench'; readonly device: string }

export const SALTS = 65_536
export const MAX_JOIN = 65_535
/** Join numbers that a takeover leaves out, as the other side may give them away too. */
const JOIN_GAP = 32

/** A room that its first device opens. */
export function foundRoom(
  device: string,
  instance: string,
  model: string,
  salt: number,
): RoomState {
  return {
    term: SALTS + salt,
    number: 1,
    coordinator: device,
    model,
    nextJoin: 2,
    planNumber: 0,
    members: [{ device, instance, join: 1 }],
    active: null,
    next: null,
    missingBytes: null,
    benched: [],
    leftOut: [],
    notes: [],
  }
}

/** Applies one event; the same object where the event changes nothing. */
export function fold(state: RoomState, event: RoomEvent): RoomState {
  const changed = apply(state, event)
  return changed === state ? state : { ...changed, number: state.number + 1 }
}

function apply(state: RoomState, event: RoomEvent): RoomState {
  switch (event.kind) {
    case 'join':
      return join(state, event.device, event.instance)
    case 'leave': {
      const members = without(state.members, event.devices)
      if (members.length === state.members.length) return state
      return {
        ...state,
        members,
        benched: without(state.benched, event.devices),
        term: event.lost ? laterTerm(state, members.length, event.lost.salt) : state.term,
      }
    }
    case 'takeover': {
      const gone = event.gone.filter((device) => device !== event.device)
      const members = without(state.members, gone)
      const next: RoomState = {
        ...state,
        members,
        benched: without(state.benched, gone),
        coordinator: event.device,
        term: laterTerm(state, members.length, event.salt),
        nextJoin: Math.min(state.nextJoin + JOIN_GAP + (event.salt % 256), MAX_JOIN),
      }
      return join(next, event.device, event.instance)
    }
    case 'plan': {
      const number = state.planNumber + 1
      const epoch = { term: state.term, number }
      return {
        ...state,
        planNumber: number,
        next: { epoch, stages: event.stages.map(spanOf) },
        missingBytes: null,
        leftOut: event.leftOut ?? [],
      }
    }
    case 'activate':
      if (!state.next || !sameEpoch(state.next.epoch, event.epoch)) return state
      return {
        ...state,
        active: state.next,
        next: null,
        notes: noted(state.notes, event.note),
      }
    case 'hold':
      return hold(state, event.epoch, event.holds)
    case 'short':
      if (state.missingBytes === event.missingBytes) return state
      return { ...state, missingBytes: event.missingBytes }
    case 'bench': {
      const others = without(state.benched, [event.device])
      return {
        ...state,
        benched: [...others, { device: event.device, reason: event.reason }],
      }
    }
    case 'unbench': {
      const benched = without(state.benched, [event.device])
      return benched.length === state.benched.length ? state : { ...state, benched }
    }
  }
}

function join(state: RoomState, device: string, instance: string): RoomState {
  const known = state.members.find((member) => member.device === device)
  if (known?.instance === instance) return state
  const others = without(state.members, [device])
  if (others.length >= SLOTS || state.nextJoin > MAX_JOIN) return state
  return {
    ...state,
    members: [...others, { device, instance, join: state.nextJoin }],
    benched: without(state.benched, [device]),
    nextJoin: state.nextJoin + 1,
  }
}

function spanOf({ device, from, to }: RingStage): RingStage {
  return { device, from, to }
}

function hold(
  state: RoomState,
  epoch: Epoch,
  holds: readonly (readonly number[])[],
): RoomState {
  const { active } = state
  if (!active || !sameEpoch(active.epoch, epoch)) return state
  const stages = active.stages.map((stage, i): RingStage => {
    return { ...spanOf(stage), hold: holds[i] ?? [] }
  })
  const isSame = stages.every(
    ({ hold: layers }, i) => layers?.join() === active.stages[i]?.hold?.join(),
  )
  return isSame ? state : { ...state, active: { epoch, stages } }
}

function noted(notes: readonly Note[], note: Note | undefined): readonly Note[] {
  return note ? [...notes, note].slice(-MOST_NOTES) : notes
}

function laterTerm(state: RoomState, remaining: number, salt: number): number {
  return (Math.floor(state.term / SALTS) + Math.max(1, remaining)) * SALTS + salt
}

function without<T extends { readonly device: string }>(
  items: readonly T[],
  devices: readonly string[],
): readonly T[] {
  return items.filter((item) => !devices.includes(item.device))
}

/** What orders two states. */
export type Rank = Pick<RoomState, 'term' | 'number' | 'coordinator'>

/** Positive where `a` holds against `b`; zero for the same state. */
export function compareRanks(a: Rank, b: Rank): number {
  if (a.term !== b.term) return a.term - b.term
  if (a.coordinator !== b.coordinator) return a.coordinator < b.coordinator ? 1 : -1
  return a.number - b.number
}

export function sameEpoch(a: Epoch, b: Epoch): boolean {
  return a.term === b.term && a.number === b.number
}

/** Positive where `a` is later than `b`. */
export function compareEpochs(a: Epoch, b: Epoch): number {
  return a.term - b.term || a.number - b.number
}

export function memberOf(state: RoomState, device: string): MemberRecord | undefined {
  return state.members.find((member) => member.device === device)
}

/** Who coordinates when only these devices are alive: the lowest join number. */
export function successorOf(
  state: RoomState,
  alive: (device: string) => boolean,
): string | undefined {
  return state.members
    .filter((member) => alive(member.device))
    .reduce<MemberRecord | undefined>(
      (lowest, member) => (!lowest || member.join < lowest.join ? member : lowest),
      undefined,
    )?.device
}

/** Whether all devices of the plan are members. */
export function isWhole(state: RoomState, plan: RingPlan): boolean {
  return plan.stages.every((stage) => memberOf(state, stage.device) !== undefined)
}
