/** Rooms with more devices than the exact planner takes: a beam search, and what it may miss. */
import { EXACT_DEVICES, solveExact } from './dp.ts'
import type { Found, Solver } from './dp.ts'
import type { Aim } from './search.ts'
import type { Hop, Tables, TimeTables } from './tables.ts'

/** Rings that are followed at the same time. */
const WIDTH = 300

interface Prefix {
  readonly used: number
  readonly starter: number
  readonly device: number
  readonly from: number
  readonly to: number
  readonly value: number
  /** Lower bound of the whole ring. */
  readonly hope: number
  readonly before: Prefix | null
}

/**
 * A good ring: beam search, then the exact planner over the devices that the beam chose and
 * the most capable others. Null means that none was found, not that none exists.
 */
export const solveLarge: Solver = (tables, wanted) => {
  const found = beam(tables, wanted)
  const used = new Set(found?.hops.map((hop) => hop.device))
  if (wanted.must !== undefined) used.add(wanted.must)
  if (used.size > EXACT_DEVICES) return found
  const { rate, room } = capabilities(tables)
  const others = rate
    .map((_, device) => device)
    .filter((device) => !used.has(device))
    .sort(
      (a, b) =>
        (rate[a] ?? 0) - (rate[b] ?? 0) || (room[b] ?? 0) - (room[a] ?? 0) || a - b,
    )
  const chosen = [...used, ...others].slice(0, EXACT_DEVICES).sort((a, b) => a - b)
  const inner = chosen.flatMap((device, i) =>
    wanted.starters.includes(device) ? [i] : [],
  )
  const exact = solveExact(subset(tables, chosen), {
    combine: wanted.combine,
    starters: inner,
    ...(wanted.must === undefined ? {} : { must: chosen.indexOf(wanted.must) }),
  })
  const effort = (found?.effort ?? 0) + (exact?.effort ?? 0)
  if (exact && exact.value < (found?.value ?? Infinity)) {
    const hops = exact.hops.map((hop) => ({ ...hop, device: chosen[hop.device] ?? -1 }))
    return { value: exact.value, hops, effort }
  }
  return found && { ...found, effort }
}

const beam: Solver = (tables, { combine, starters, must }): Found | null => {
  const { devices, layers, work } = tables
  const stride = layers + 1
  const add = combine === 'sum' ? (a: number, b: number) => a + b : Math.max
  const bound = fillBound(tables, combine)
  const workFrom = new Float64Array(stride)
  for (let p = layers - 1; p >= 0; p--)
    workFrom[p] = (workFrom[p + 1] ?? 0) + (work[p] ?? 0)
  let effort = 0
  const closed: { value: number; last: Prefix | null } = { value: Infinity, last: null }
  let front: Prefix[] = []
  const hopeOf = (value: number, used: number, to: number) =>
    add(value, bound(used, workFrom[to] ?? 0))
  const close = (last: Prefix) => {
    if (last.to !== layers) return
    if (must !== undefined && !(last.used & (1 << must))) return
    const link = tables.link[last.device * devices + last.starter]?.[layers] ?? Infinity
    const value = last.before ? add(last.value, link) : last.value
    if (value < closed.value) Object.assign(closed, { value, last })
  }
  for (const starter of starters)
    for (let to = 0; to <= layers; to++) {
      const value = tables.start[starter]?.[to] ?? Infinity
      const used = 1 << starter
      const hope = hopeOf(value, used, to)
      if (!(hope < Infinity)) continue
      front.push({
        used,
        starter,
        device: starter,
        from: 0,
        to,
        value,
        hope,
        before: null,
      })
    }
  while (front.length > 0) {
    front.forEach(close)
    const next = new Map<string, Prefix>()
    for (const before of narrow(front)) {
      for (let device = 0; device < devices; device++) {
        if (before.used & (1 << device)) continue
        const link =
          tables.link[before.device * devices + device]?.[before.to] ?? Infinity
        const base = add(before.value, link)
        if (!(base < closed.value)) continue
        const used = before.used | (1 << device)
        for (let to = before.to + 1; to <= layers; to++) {
          const value = add(
            base,
            tables.span[device]?.[before.to * stride + to] ?? Infinity,
          )
          if (!(value < closed.value)) continue
          effort++
          const hope = hopeOf(value, used, to)
          if (!(hope < closed.value)) continue
          const key = `${before.starter} ${used} ${device} ${to}`
          if (!(value < (next.get(key)?.value ?? Infinity))) continue
          const { starter } = before
          next.set(key, {
            used,
            starter,
            device,
            from: before.to,
            to,
            value,
            hope,
            before,
          })
        }
      }
    }
    front = [...next.values()]
  }
  return closed.last && { value: closed.value, hops: trace(closed.last), effort }
}

function narrow(front: Prefix[]): Prefix[] {
  // Sorting is stable: equals stay in the order of the devices.
  return front.sort((a, b) => a.hope - b.hope || b.to - a.to).slice(0, WIDTH)
}

function trace(last: Prefix): Hop[] {
  const hops: Hop[] = []
  for (let at: Prefix | null = last; at; at = at.before)
    hops.unshift({ device: at.device, from: at.from, to: at.to })
  return hops
}

/** Per device: least cost of a unit of work, and most work that it can take. */
function capabilities({ layers, span, start, work }: Tables): {
  rate: number[]
  room: number[]
} {
  const stride = layers + 1
  const rate = span.map(() => Infinity)
  const room = span.map(() => 0)
  span.forEach((table, device) => {
    for (let from = 0; from < layers; from++)
      for (let to = from + 1, w = 0; to <= layers; to++) {
        w += work[to - 1] ?? 0
        const asStarter = from === 0 ? (start[device]?.[to] ?? Infinity) : Infinity
        const cost = Math.min(table[from * stride + to] ?? Infinity, asStarter)
        if (cost === Infinity) continue
        room[device] = Math.max(room[device] ?? 0, w)
        // Where layers cost nothing (a shortfall, no work) the bound is nothing, too.
        rate[device] = Math.min(rate[device] ?? 0, w > 0 ? cost / w : 0)
      }
  })
  return { rate, room }
}

/** Least cost of some work on the devices that are not in use, ignoring links and borders. */
function fillBound(
  tables: Tables,
  combine: 'sum' | 'max',
): (used: number, work: number) => number {
  const { rate, room } = capabilities(tables)
  const able = rate
    .flatMap((r, device) =>
      (room[device] ?? 0) > 0 ? { device, r, w: room[device] ?? 0 } : [],
    )
    .sort((a, b) => a.r - b.r)
  const slack = 1 - 1e-9
  return (used, work) => {
    let left = work * slack
    let [cost, speed] = [0, 0]
    for (const { device, r, w } of able) {
      if (used & (1 << device)) continue
      cost += Math.max(0, Math.min(left, w)) * r
      speed += 1 / r
      left -= w
    }
    if (left > 0) return Infinity
    // The busiest is least when all free devices run all the time.
    return (combine === 'sum' ? cost : speed > 0 ? work / speed : 0) * slack
  }
}

/** A lower bound of the aim's value over all rings, whatever the links. */
export function lowerBound(tables: TimeTables, aim: Aim): number {
  const work = tables.work.reduce((a, b) => a + b, 0)
  const head = Math.min(...tables.start.map((table) => table[0] ?? Infinity))
  const floor = Number.isFinite(head) ? head : 0
  const lap = fillBound(tables, 'sum')(0, work) + floor
  if (aim.load === 'lap') return lap
  return Math.max(fillBound(tables, 'max')(0, work), floor, lap / aim.inFlight)
}

function subset(tables: Tables, chosen: readonly number[]): Tables {
  const pick = (from: readonly Float64Array[]) => chosen.flatMap((i) => from[i] ?? [])
  return {
    ...tables,
    devices: chosen.length,
    span: pick(tables.span),
    start: pick(tables.start),
    link: chosen.flatMap((i) =>
      chosen.flatMap((j) => tables.link[i * tables.devices + j] ?? []),
    ),
  }
}
