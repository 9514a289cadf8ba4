/** From the two solvers' answers (smallest sum, smallest maximum) to the planner's aims. */
import type { Combine } from './bounds.ts'
import { absence } from './dp.ts'
import type { Found, Solver, Wanted } from './dp.ts'
import { busyTables, capped, promptTables, without } from './tables.ts'
import type { Hop, Tables, TimeTables } from './tables.ts'

export interface Aim {
  readonly load: 'lap' | 'stage'
  /** Sequences that share the ring under load `stage`. */
  readonly inFlight: number
  /** Under load `lap`: what each device costs that is left out, in units of the tables. */
  readonly absent?: readonly number[]
  /** Under load `lap`: this share may be given up so that prompts flow faster. */
  readonly level?: number
}

/** The least busy ring is searched for to this factor: every step takes a whole search. */
export const LEVEL_STEP = 1.05

/** What a ring costs, in units of the tables. */
export interface RingTimes {
  readonly lap: number
  readonly busiest: number
}

export interface Ring extends RingTimes {
  readonly hops: readonly Hop[]
  /** What is smallest: a lap, or the time per token of all sequences together. */
  readonly value: number
  readonly effort: number
}

/**
 * Time between two tokens of the room. A ring with n sequences in flight gives n tokens per
 * lap until its busiest stage or link has no pause left (the cycle time of a closed queue
 * with constant service times). Under load `lap` devices that are left out count, too.
 */
export function aimValue(
  { load, inFlight, absent = [] }: Aim,
  { lap, busiest }: RingTimes,
  hops: readonly Hop[],
): number {
  if (load === 'stage') return Math.max(busiest, lap / inFlight)
  return (
    lap +
    absence(
      absent,
      hops.reduce((used, { device }) => used | (1 << device), 0),
    )
  )
}

/** Lap and busiest stage or link of a ring; Infinity where it is not possible. */
export function ringTimes(tables: TimeTables, hops: readonly Hop[]): RingTimes {
  const { devices, layers } = tables
  let lap = 0
  let busiest = 0
  hops.forEach(({ device, from, to }, i) => {
    const own =
      i === 0
        ? tables.start[device]?.[to]
        : tables.span[device]?.[from * (layers + 1) + to]
    lap += own ?? Infinity
    busiest = Math.max(busiest, own ?? Infinity)
    const next = hops[(i + 1) % hops.length]
    if (!next || hops.length === 1) return
    const pair = device * devices + next.device
    lap += tables.link[pair]?.[to] ?? Infinity
    busiest = Math.max(busiest, tables.busy[pair]?.[to] ?? Infinity)
  })
  return { lap, busiest }
}

/**
 * The best ring for the aim, or null. Under load `stage` the least busy ring may have a long
 * lap. The smallest lap among rings that are nowhere busier than some bound falls as the bound
 * rises, so the best bound is where the two meet; ties go to the smaller lap.
 */
export function bestRing(
  tables: TimeTables,
  aim: Aim,
  solver: Solver,
  wanted: Omit<Wanted, 'combine'>,
): Ring | null {
  let effort = 0
  const { absent = [], level = 0 } = aim
  const solve = (t: Tables, combine: Combine, below = Infinity): Found | null => {
    const found = solver(t, { ...wanted, absent, combine, below })
    effort += found?.effort ?? 0
    return found
  }
  const ring = (hops: readonly Hop[]): Ring => {
    const times = ringTimes(tables, hops)
    return { ...times, hops, value: aimValue(aim, times, hops), effort }
  }
  if (aim.load === 'lap') {
    const found = solve(tables, 'sum')
    if (!found || level === 0) return found && ring(found.hops)
    let best = ring(found.hops)
    const limit = Math.floor(best.value * (1 + level)) + 1
    // Nobody is taken in for the sake of level stages alone.
    const chosen = best.hops.map(({ device }) => device)
    const allowed = without(
      tables,
      (device) => !chosen.includes(device) && !((absent[device] ?? 0) > 0),
    )
    // One sequence keeps several stages busy only while its prompt flows through them.
    const busy = (hops: readonly Hop[]) => ringTimes(promptTables(tables), hops).busiest
    let [least, most] = [0, busy(best.hops)]
    while (most > least * LEVEL_STEP) {
      const bound = Math.floor(least > 0 ? Math.sqrt(least * most) : most / 2)
      const within = solve(capped(allowed, bound, tables.flow), 'sum', limit)
      if (within) {
        best = ring(within.hops)
        most = busy(within.hops)
      } else least = bound
      if (bound === 0) break
    }
    return { ...best, effort }
  }
  const least = solve(busyTables(tables), 'max')
  if (!least) return null
  let best = ring(least.hops)
  /** Looks for a smaller lap than `below` among rings that are no busier than `bound`. */
  const improve = (bound: number, below: number): boolean => {
    const found = solve(capped(tables, bound), 'sum', below)
    if (!found) return false
    const next = ring(found.hops)
    if (next.value < best.value || (next.value === best.value && next.lap < best.lap))
      best = next
    return true
  }
  improve(least.value, best.lap)
  if (best.value > best.busiest) {
    const bounds = busyTimes(tables, least.value, best.value)
    let [low, high] = [0, bounds.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const bound = bounds[middle] ?? Infinity
      if (improve(bound, Math.floor(bound * aim.inFlight) + 1)) high = middle
      else low = middle + 1
    }
    // Just below the bound where the two meet, the lap still decides: that may be better.
    const before = bounds[low - 1]
    if (before !== undefined) improve(before, best.value * aim.inFlight)
    improve(Math.floor(best.value), best.lap)
  }
  return { ...best, effort }
}

/** All times that a stage or link can be busy for, above `least` and up to `most`, sorted. */
function busyTimes(tables: TimeTables, least: number, most: number): number[] {
  const times = new Set<number>()
  for (const table of [...tables.span, ...tables.start, ...tables.busy])
    for (const x of table) if (x > least && x <= most) times.add(x)
  return [...times].sort((a, b) => a - b)
}
