/** What the screens see, made from what the session knows. Pure. */
import type { Manifest } from '../../model-split/manifest.ts'
import type { Epoch } from '../../workers/ring/types.ts'
import { isWhole, memberOf, sameEpoch, type RoomState } from './membership.ts'
import type { Facts } from './protocol.ts'
import { namesIn } from './names.ts'
import { stageMs } from './step-times.ts'
import type { Thread } from './thread.ts'
import type { DeviceView, Knock, RoomStatus, RoomView } from './types.ts'

export interface Known {
  readonly self: string
  readonly link: string
  readonly code: string
  /** Why the room is closed for this device, or null. */
  readonly closed: string | null
  readonly state: RoomState | null
  readonly facts: ReadonlyMap<string, Facts>
  readonly rtt: (device: string) => number | null
  readonly manifest: Manifest | null
  /** The plan that this device takes part in. */
  readonly active: Epoch | null
  readonly thread: Thread
  readonly knocks: readonly Knock[]
  readonly notice: string | null
}

export function viewOf(known: Known): RoomView {
  const { state, manifest, link, code, thread, knocks, notice } = known
  const names = namesIn(state?.members ?? [], known.facts)
  return {
    status: statusOf(known),
    model: manifest && {
      name: manifest.model.name,
      layers: manifest.layers,
      context: manifest.context,
      bytes: Object.values(manifest.shards).reduce((sum, { bytes }) => sum + bytes, 0),
    },
    epoch: state?.active?.epoch ?? null,
    link,
    code,
    devices: state
      ? state.members.map(({ device }) =>
          deviceOf(known, state, device, names.get(device) ?? ''),
        )
      : [],
    lapMs: lapOf(known),
    notes: state?.notes ?? [],
    messages: thread.path,
    chat: { nodes: [...thread.nodes.values()], leaf: thread.leaf },
    othersAsking: othersAsking(known),
    knocks,
    notice,
  }
}

/** Whether questions can be answered now. */
export function isReady(state: RoomState | null, active: Epoch | null): boolean {
  if (!state?.active || !active) return false
  return isWhole(state, state.active) && sameEpoch(state.active.epoch, active)
}

function statusOf({ self, closed, state, active }: Known): RoomStatus {
  if (closed !== null) return { kind: 'closed', message: closed }
  if (!state || !memberOf(state, self)) return { kind: 'connecting' }
  if (isReady(state, active)) return { kind: 'ready' }
  if (state.missingBytes !== null)
    return { kind: 'short', missingBytes: state.missingBytes }
  return { kind: 'preparing' }
}

function lapOf({ state, facts }: Known): number | null {
  const plan = state?.active
  const lap = plan && facts.get(plan.stages[0]?.device ?? '')?.lap
  return lap && sameEpoch(lap.epoch, plan.epoch) ? lap.ms : null
}

function othersAsking({ self, facts }: Known): number {
  let sum = 0
  for (const [device, { running }] of facts) if (device !== self) sum += running
  return sum
}

function deviceOf(
  known: Known,
  state: RoomState,
  device: string,
  name: string,
): DeviceView {
  const facts = known.facts.get(device)
  const plan = state.active && isWhole(state, state.active) ? state.active : state.next
  const stage = plan?.stages.find((one) => one.device === device)
  const benched = state.benched.find((one) => one.device === device)
  return {
    id: device,
    name,
    self: device === known.self,
    coordinator: device === state.coordinator,
    engine: facts?.engine ?? 'wasm',
    memoryBudget: facts?.memoryBudget ?? 0,
    span: stage && stage.to > stage.from ? { from: stage.from, to: stage.to } : null,
    starter: stage !== undefined && plan?.stages[0] === stage,
    state: benched
      ? { kind: 'failed', message: benched.reason }
      : (facts?.state ?? { kind: 'joining' }),
    leftOut: stage
      ? null
      : (state.leftOut.find((one) => one.device === device)?.why ?? null),
    msPerLayer: facts?.msPerLayer ?? null,
    msPerLayerPrefill: facts?.msPerLayerPrefill ?? null,
    stageMs: stage && facts ? stageMs(stage, plan?.stages[0] === stage, facts) : null,
    slowdown: facts?.slowdown ?? 1,
    holds: facts?.holds ?? [],
    rttMs: known.rtt(device),
    links: facts?.links ?? [],
    memoryUsed: facts?.memoryUsed ?? 0,
    memoryProbed: facts?.memoryProbed ?? null,
    battery: facts?.battery ?? null,
    visible: facts?.visible ?? true,
  }
}
