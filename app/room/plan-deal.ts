/** Deals layers with the planner, from what the devices measured. */
import { modelCosts, type ModelCosts } from '../../model-split/plan/costs.ts'
import { weightBytes } from '../../model-split/plan/memory.ts'
import { planLayers } from '../../model-split/plan/plan.ts'
import { movesBetween } from '../../model-split/plan/rebalance.ts'
import { LEAST_ROWS, PLANNED_ROWS } from '../../model-split/plan/reserve.ts'
import type { ModeSpeed, PlanDevice, Stage } from '../../model-split/plan/types.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import type { RingStage } from '../../workers/ring/types.ts'
import type { Deal, DealDevice, Known, Load } from './deal.ts'
import { overlapsOf, range } from './overlap.ts'

/** Assumed where nobody has measured yet: one token through one layer, a round trip; ms. */
const GUESS_MS = 5
const GUESS_RTT_MS = 5
/** Assumed until links are measured, bytes per ms: ordinary Wi-Fi. */
const GUESS_BANDWIDTH = 2500

/** What answers lose while weights come in the background, as a share of that time. */
const BACKGROUND = 0.2
/** And when the layers change hands. */
const PAUSE_MS = 100

/** How much slower each form is than the fastest one: docs/benchmarks.md. */
const FACTORS: Readonly<Record<DealDevice['engine'], readonly ModeSpeed[]>> = {
  wasm: [
    { mode: 'lean', msPerLayer: 1 },
    { mode: 'dense', msPerLayer: 1.6 },
    { mode: 'packed', msPerLayer: 7 },
  ],
  webgpu: [{ mode: 'packed', msPerLayer: 1 }],
}

let last: { readonly key: string; readonly dealt: Known } | null = null

/** Of one answer's speed so much is given up to share the layers evenly. */
const LEVEL = 0.1

/**
 * One answer at a time: the smallest lap, but whoever joined and is well takes part unless
 * that is felt (`WELCOME`): people come to lend their phones, and memory is what rooms lack.
 * Stages are levelled for prompts where a lap hardly suffers. While nobody has measured yet all
 * are taken for equal, and everyone takes part. Several at once: the least busy stage, so
 * everyone takes part who relieves it.
 */
export const planDeal = (...[manifest, devices, now, load]: Parameters<Deal>): Known => {
  const key = JSON.stringify([manifest.graph.sha256, devices.map(coarse), now, load])
  if (last?.key === key) return last.dealt
  const dealt = dealWith(manifest, devices, now, load)
  last = { key, dealt }
  return dealt
}

function dealWith(
  manifest: Manifest,
  devices: readonly DealDevice[],
  now: readonly RingStage[] | null,
  load: Load,
): Known {
  const costs = modelCosts(manifest)
  const sorted = [...devices].sort((a, b) => a.join - b.join)
  const current = now?.every(({ device }) => sorted.some((d) => d.device === device))
    ? now
    : null
  const unmeasured = devices.every(({ msPerLayer }) => msPerLayer === null)
  // Pages that are just opening answer late.
  const links = linksOf(
    sorted.map((each) => (unmeasured ? { ...each, links: [] } : each)),
  )
  let missingBytes = 0
  for (const contextTokens of [PLANNED_ROWS, LEAST_ROWS]) {
    const reserve = {
      contextTokens: Math.min(contextTokens, costs.context),
      sequences: 1,
    }
    const known = sorted.map(describe)
    const speeds = known.flatMap((d) => d.unit ?? []).sort((a, b) => a - b)
    const usual = speeds[Math.floor(speeds.length / 2)] ?? GUESS_MS
    const plan = planLayers(
      costs,
      known.map(({ device, unit }) => atSpeed(device, unit ?? usual)),
      links,
      {
        ...reserve,
        load,
        inFlight: Infinity,
        level: LEVEL,
        welcome: sorted
          .filter(({ well }) => well || unmeasured)
          .map(({ device }) => device),
        ...(current && { current }),
      },
    )
    if (plan.kind === 'plan') {
      const { stages, leftOut, valueMs, currentMs } = plan
      return {
        kind: 'plan',
        stages: stages.map(({ device, from, to }) => ({ device, from, to })),
        leftOut,
        ms: valueMs,
        nowMs: currentMs,
        ...moveTo(costs, current ?? [], stages, sorted),
        ...(current && { holds: overlapsOf(manifest, sorted, current) }),
      }
    }
    missingBytes = plan.missingBytes
  }
  return { kind: 'short', missingBytes: Math.max(1, missingBytes) }
}

/** The device with the speeds of its forms relative to the fastest, and what that one takes. */
function describe({
  device,
  engine,
  mode,
  memoryBudget,
  msPerLayer,
  msStarter,
  holds,
}: DealDevice): { device: PlanDevice; unit: number | null } {
  const plain: PlanDevice = {
    id: device,
    modes: FACTORS[engine],
    memoryBudget,
    holds,
    ...(msStarter !== null && { msStarter }),
  }
  if (msPerLayer === null || msPerLayer <= 0) return { device: plain, unit: null }
  const measured = plain.modes.find((speed) => speed.mode === mode)
  return { device: plain, unit: msPerLayer / (measured?.msPerLayer ?? 1) }
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
  // Who receives measures.
  const bandwidth = (a: DealDevice, b: DealDevice): number =>
    b.links.find((link) => link.device === a.device)?.bytesPerMs ?? GUESS_BANDWIDTH
  return {
    rttMs: devices.map((a) => devices.map((b) => (a === b ? 0 : rtt(a, b)))),
    bytesPerMs: devices.map((a) =>
      devices.map((b) => (a === b ? Infinity : bandwidth(a, b))),
    ),
  }
}

/**
 * Weights come in the background, where answers suffer a little; then a lap is lost. A device
 * without room for both plans gives up what it runs, and answers stop until it has loaded.
 */
function moveTo(
  costs: ModelCosts,
  now: readonly RingStage[],
  stages: readonly Stage[],
  devices: readonly DealDevice[],
): { readonly moveMs: number; readonly stops: boolean } {
  const moves = movesBetween(now, stages)
  const knownOf = (id: string) => devices.find(({ device }) => device === id)
  /** Layers whose weights a device has to load. */
  const missing = ({ device }: Stage): number[] => {
    const held = knownOf(device)?.holds ?? []
    const own = moves.filter(({ taker }) => taker === device)
    return own.flatMap(({ from, to }) => range(from, to)).filter((n) => !held.includes(n))
  }
  const stops = stages.some((stage, index) => {
    const { mode, memoryBudget = 0 } = knownOf(stage.device) ?? {}
    const place = now.findIndex(({ device }) => device === stage.device)
    const had = now[place]
    const layers = missing(stage)
    const startsNow = index === 0 && place > 0
    if (!had || (layers.length === 0 && !startsNow)) return false
    const resident = (from: number, to: number, starter: boolean): number =>
      weightBytes(costs, mode ?? 'packed', from, to, starter)
    const ends = startsNow ? resident(0, 1, true) - resident(0, 1, false) : 0
    const added = layers.reduce((sum, n) => sum + resident(n, n + 1, false), ends)
    return resident(had.from, had.to, place === 0) + added > memoryBudget
  })
  const bytes = stages
    .flatMap(missing)
    .reduce((sum, n) => sum + weightBytes(costs, 'packed', n, n + 1, false), 0)
  const share = stops ? 1 : BACKGROUND
  return { moveMs: PAUSE_MS + (bytes / GUESS_BANDWIDTH) * share, stops }
}

/** Figures that wander a little do not make a new question of it. */
export function coarse(device: DealDevice): unknown {
  const round = (ms: number | null): number | null =>
    ms === null ? null : Number(ms.toPrecision(2))
  return {
    ...device,
    msPerLayer: round(device.msPerLayer),
    msStarter: round(device.msStarter),
    links: device.links.map((link) => ({ ...link, rttMs: round(link.rttMs) })),
  }
}
