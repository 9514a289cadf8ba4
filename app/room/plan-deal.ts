/** Deals layers with the planner, from what the devices measured. */
import { modelCosts, type ModelCosts } from '../../model-split/plan/costs.ts'
import { fittingMode } from '../../model-split/plan/memory.ts'
import { planLayers } from '../../model-split/plan/plan.ts'
import { LEAST_ROWS, PLANNED_ROWS } from '../../model-split/plan/reserve.ts'
import type { ModeSpeed, PlanDevice } from '../../model-split/plan/types.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import type { RingStage } from '../../workers/ring/types.ts'
import type { Deal, DealDevice, Dealt } from './deal.ts'

/** Assumed where nobody has measured yet: one token through one layer, a round trip; ms. */
const GUESS_MS = 5
const GUESS_RTT_MS = 5
/** Assumed until links are measured, bytes per ms: ordinary Wi-Fi. */
const GUESS_BANDWIDTH = 2500

/** How much slower each form is than the fastest one: docs/benchmarks.md. */
const FACTORS: Readonly<Record<DealDevice['engine'], readonly ModeSpeed[]>> = {
  wasm: [
    { mode: 'dense', msPerLayer: 1 },
    { mode: 'lean', msPerLayer: 1.4 },
    { mode: 'packed', msPerLayer: 7 },
  ],
  webgpu: [{ mode: 'packed', msPerLayer: 1 }],
}

const costsFor = new WeakMap<Manifest, ModelCosts>()
let last: { readonly key: string; readonly dealt: Dealt } | null = null

/**
 * Everyone takes part who relieves the busiest phone: the planner's load `stage` with many
 * questions at once. People join to lend their phones, and memory is what rooms lack; the
 * smallest lap for one question would often leave all but one phone out.
 */
export const planDeal: Deal = (manifest, devices, now) => {
  const key = JSON.stringify([manifest.graph.sha256, devices.map(coarse), now])
  if (last?.key === key) return last.dealt
  const costs = costsFor.get(manifest) ?? modelCosts(manifest)
  costsFor.set(manifest, costs)
  const dealt = dealWith(costs, devices, now)
  last = { key, dealt }
  return dealt
}

function dealWith(
  costs: ModelCosts,
  devices: readonly DealDevice[],
  now: readonly RingStage[] | null,
): Dealt {
  const sorted = [...devices].sort((a, b) => a.join - b.join)
  const current = now?.every(({ device }) => sorted.some((d) => d.device === device))
    ? now
    : null
  const links = linksOf(sorted)
  let missingBytes = 0
  for (const contextTokens of [PLANNED_ROWS, LEAST_ROWS]) {
    const reserve = {
      contextTokens: Math.min(contextTokens, costs.context),
      sequences: 1,
    }
    const known = sorted.map((device) => describe(costs, device, now, reserve))
    const speeds = known.flatMap((d) => d.unit ?? []).sort((a, b) => a - b)
    const usual = speeds[Math.floor(speeds.length / 2)] ?? GUESS_MS
    const plan = planLayers(
      costs,
      known.map(({ device, unit }) => atSpeed(device, unit ?? usual)),
      links,
      {
        ...reserve,
        load: 'stage',
        inFlight: Infinity,
        ...(current && { current }),
      },
    )
    if (plan.kind === 'plan')
      return {
        kind: 'plan',
        stages: plan.stages.map(({ device, from, to }) => ({ device, from, to })),
      }
    missingBytes = plan.missingBytes
  }
  return { kind: 'short', missingBytes: Math.max(1, missingBytes) }
}

/** The device with the speeds of its forms relative to the fastest, and what that one takes. */
function describe(
  costs: ModelCosts,
  { device, engine, memoryBudget, msPerLayer, msStarter }: DealDevice,
  now: readonly RingStage[] | null,
  reserve: { contextTokens: number; sequences: number },
): { device: PlanDevice; unit: number | null } {
  const plain: PlanDevice = {
    id: device,
    modes: FACTORS[engine],
    memoryBudget,
    ...(msStarter !== null && { msStarter }),
  }
  if (msPerLayer === null || msPerLayer <= 0) return { device: plain, unit: null }
  const index = now?.findIndex((stage) => stage.device === device) ?? -1
  const stage = now?.[index]
  const mode =
    stage && fittingMode(costs, plain, stage.from, stage.to, index === 0, reserve)
  return { device: plain, unit: msPerLayer / (mode?.msPerLayer ?? 1) }
}

function atSpeed(device: PlanDevice, unit: number): PlanDevice {
  const modes = device.modes.map(({ mode, msPerLayer }) => ({
    mode,
    msPerLayer: msPerLayer * unit,
  }))
  return { ...device, modes }
}

function linksOf(devices: readonly DealDevice[]): {
  rttMs: number[][]
  bytesPerMs: number[][]
} {
  const rtt = (a: DealDevice, b: DealDevice): number => {
    const told = [
      a.links.find((link) => link.device === b.device)?.rttMs,
      b.links.find((link) => link.device === a.device)?.rttMs,
    ].flatMap((ms) => ms ?? [])
    return told.length === 0 ? GUESS_RTT_MS : Math.max(0.1, ...told)
  }
  return {
    rttMs: devices.map((a) => devices.map((b) => (a === b ? 0 : rtt(a, b)))),
    bytesPerMs: devices.map((a) =>
      devices.map((b) => (a === b ? Infinity : GUESS_BANDWIDTH)),
    ),
  }
}

/** Figures that wander a little do not make a new question of it. */
function coarse(device: DealDevice): unknown {
  const round = (ms: number | null): number | null =>
    ms === null ? null : Number(ms.toPrecision(2))
  return {
    ...device,
    msPerLayer: round(device.msPerLayer),
    msStarter: round(device.msStarter),
    links: device.links.map((link) => ({ ...link, rttMs: round(link.rttMs) })),
  }
}
