/** The planner: who runs which layers. Pure; the same input gives the same plan. */
import { checkInputs } from './check.ts'
import type { ModelCosts } from './costs.ts'
import { EXACT_DEVICES, solveExact } from './dp.ts'
import type { Solver } from './dp.ts'
import { evaluatePlan } from './evaluate.ts'
import { lowerBound, solveLarge } from './large.ts'
import { whyLeftOut } from './reasons.ts'
import { aimValue, bestRing, ringTimes } from './search.ts'
import type { Aim, Ring } from './search.ts'
import {
  capped,
  holders,
  promptTables,
  shortfallTables,
  timeTables,
  withFees,
} from './tables.ts'
import type { Hop, TimeTables } from './tables.ts'
import { MARGIN, TOLERANCE, WELCOME, WELCOME_MS } from './types.ts'
import type { Plan, PlanDevice, PlanLinks, PlanOptions, Short, Stage } from './types.ts'

/**
 * Plans a room. The best ring for the load over all contiguous spans, device orders, starters
 * and subsets of the devices; memory (weights in the chosen mode and the reserved caches) is a
 * hard limit. Exact for up to `EXACT_DEVICES` devices; beyond, `gap` says how far the plan may
 * be from the best. With `options.current` it stays unless another is better by the margin,
 * and among plans that are equally good within the tolerance few layers move.
 * @throws Error with one sentence if a measurement is not a usable number.
 */
export function planLayers(
  costs: ModelCosts,
  devices: readonly PlanDevice[],
  links: PlanLinks,
  options: PlanOptions,
): Plan | Short {
  checkInputs(costs, devices, links, options)
  const room = sorted(devices, links)
  const tables = timeTables(costs, room.devices, room.links, options)
  const solver = room.devices.length > EXACT_DEVICES ? solveLarge : solveExact
  const all = room.devices.map((_, device) => device)
  const starters = all.filter(
    (i) => (options.starter ?? room.devices[i]?.id) === room.devices[i]?.id,
  )
  const inFlight = options.inFlight ?? options.sequences
  const { load, welcome = [], level = 0 } = options
  const plain: Aim = { load, inFlight }
  const smallest =
    load === 'lap' && welcome.length > 0
      ? bestRing(tables, plain, solver, { starters })
      : null
  const fee = smallest
    ? Math.ceil(Math.max(WELCOME * smallest.lap, WELCOME_MS / tables.msPerUnit))
    : 0
  const absent = room.devices.map(({ id }) => (welcome.includes(id) ? fee : 0))
  const aim: Aim = load === 'lap' ? { ...plain, absent, level } : plain

  const best = bestRing(tables, aim, solver, { starters })
  if (!best) return short(costs, room, options, solver, starters)

  const current = options.current && hopsOf(options.current, room, costs, options)
  const now = current && { ...ringTimes(tables, current), hops: current }
  const margin = 1 + (options.margin ?? MARGIN)
  const value = now && aimValue(aim, now, now.hops)
  const kept = value !== undefined && value <= best.value * margin
  const ring: Ring =
    kept && now
      ? { ...now, value, effort: best.effort }
      : fewestMoves(best, tables, aim, solver, {
          ...options,
          starters,
          devices: room.devices,
        })

  const stages = ring.hops.map(({ device, from, to }) => ({
    device: room.devices[device]?.id ?? '',
    from,
    to,
  }))
  const result = evaluatePlan(stages, costs, room.devices, room.links, options)
  if (!result)
    throw new Error('The planner made a plan that does not fit; please report this.')
  const exact = solver === solveExact
  const bound = lowerBound(tables, aim)
  const idle = all.filter((device) => !ring.hops.some((hop) => hop.device === device))
  return {
    kind: 'plan',
    stages: result.stages,
    outcome: kept ? 'kept' : 'new',
    lapMs: result.lapMs,
    busiestMs: result.busiestMs,
    valueMs: ring.value * tables.msPerUnit,
    currentMs: value === undefined ? null : value * tables.msPerUnit,
    contextTokens: result.contextTokens,
    leftOut: idle.map((device) => ({
      device: room.devices[device]?.id ?? '',
      why: whyLeftOut(tables, {
        device,
        ring,
        kept,
        ...(exact && {
          forced: () => bestRing(tables, aim, solver, { starters, must: device }),
        }),
      }),
    })),
    movedLayers: moved(stages, options.current ?? [], costs.layers),
    gap: exact || bound <= 0 ? 0 : Math.max(0, best.value / bound - 1),
    effort: ring.effort,
  }
}

interface Room {
  readonly devices: readonly PlanDevice[]
  readonly links: PlanLinks
}

/** Devices by id, so that ties do not depend on who was listed first. */
function sorted(devices: readonly PlanDevice[], links: PlanLinks): Room {
  const order = devices
    .map(({ id }, i) => ({ id, i }))
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map(({ i }) => i)
  const pick = (matrix: readonly (readonly number[])[], diagonal: number) =>
    order.map((i) =>
      order.map((j) => (i === j ? diagonal : (matrix[i]?.[j] ?? diagonal))),
    )
  return {
    devices: order.flatMap((i) => devices[i] ?? []),
    links: {
      rttMs: pick(links.rttMs, Infinity),
      bytesPerMs: pick(links.bytesPerMs, Infinity),
    },
  }
}

/** The current plan on today's devices, or undefined if it cannot go on. */
function hopsOf(
  stages: readonly Stage[],
  { devices, links }: Room,
  costs: ModelCosts,
  options: PlanOptions,
): readonly Hop[] | undefined {
  if (!evaluatePlan(stages, costs, devices, links, options)) return undefined
  if (options.starter !== undefined && stages[0]?.device !== options.starter)
    return undefined
  return stages.map(({ device, from, to }) => ({
    device: devices.findIndex(({ id }) => id === device),
    from,
    to,
  }))
}

/** What it costs to move a layer whose weights are there already, as a share. */
const HELD_FEE = 0.25

/** A ring within the tolerance of the best that moves few layers. */
function fewestMoves(
  best: Ring,
  tables: TimeTables,
  aim: Aim,
  solver: Solver,
  options: PlanOptions & { devices: readonly PlanDevice[]; starters: readonly number[] },
): Ring {
  const { current, devices, starters, tolerance = TOLERANCE } = options
  if (!current) return best
  const starter = devices.findIndex(({ id }) => id === current[0]?.device)
  // All layers and the starter's role together cost what the tolerance allows at most.
  const fee = Math.max(1, Math.floor((tolerance * best.lap) / (tables.layers + 1)))
  const limited = asLevel(best, tables, aim, 1 + tolerance)
  const at = holders(current, devices, tables.layers)
  const held = Math.floor(HELD_FEE * fee)
  const layerFee = (device: number, layer: number) => {
    if (at[layer] === device) return 0
    return devices[device]?.holds?.includes(layer) ? held : fee
  }
  const priced = withFees(limited, layerFee, (device) => (device === starter ? 0 : fee))
  const { absent = [] } = aim
  const found = solver(priced, { combine: 'sum', starters, absent })
  if (!found) return best
  const times = ringTimes(tables, found.hops)
  const value = aimValue(aim, times, found.hops)
  const effort = best.effort + found.effort
  // A beam search may find a worse one.
  if (value > best.value * (1 + tolerance) + tables.layers) return { ...best, effort }
  return { ...times, hops: found.hops, value, effort }
}

/** The tables of rings whose stages are as level as those of the best, but for a factor. */
function asLevel(
  best: Ring,
  tables: TimeTables,
  { load, level }: Aim,
  factor: number,
): TimeTables {
  if (load === 'stage') return capped(tables, Math.floor(best.value * factor))
  if (!level) return tables
  const { busiest } = ringTimes(promptTables(tables), best.hops)
  return capped(tables, Math.floor(busiest * factor), tables.flow)
}

function moved(
  stages: readonly Stage[],
  current: readonly Stage[],
  layers: number,
): number {
  const holder = (of: readonly Stage[]) => {
    const names = new Array<string | null>(layers).fill(null)
    for (const { device, from, to } of of) names.fill(device, from, to)
    return names
  }
  const before = holder(current)
  return holder(stages).filter((device, layer) => device !== before[layer]).length
}

function short(
  costs: ModelCosts,
  { devices, links }: Room,
  options: PlanOptions,
  solver: Solver,
  starters: readonly number[],
): Short {
  const tables = shortfallTables(costs, devices, links, options)
  const found = solver(tables, { combine: 'sum', starters })
  if (found) return { kind: 'short', missingBytes: found.value }
  const nobody: PlanDevice = {
    id: '',
    modes: (['dense', 'lean', 'packed'] as const).map((mode) => ({
      mode,
      msPerLayer: 0,
    })),
    memoryBudget: 0,
  }
  const alone = shortfallTables(costs, [nobody], { rttMs: [], bytesPerMs: [] }, options)
  return { kind: 'short', missingBytes: alone.start[0]?.[costs.layers] ?? 0 }
}
