/** Rooms with more devices than the exact planner takes: a beam search, and what it may miss. */
import { capabilities, fillBound, workAfter } from './bounds.ts'
import { absence, EXACT_DEVICES, solveExact } from './dp.ts'
import type { Found, Solver } from './dp.ts'
import type { Aim } from './search.ts'
import type { Hop, Tables, TimeTables } from './tables.ts'

/** Rings that are followed at the same time. */
const WIDTH = 240

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
  const found = solveBeam(tables, wanted)
  const used = new Set(found?.hops.map((hop) => hop.device))
  if (wanted.must !== undefined) used.add(wanted.must)
  if (used.size > EXACT_DEVICES) return found
  const others = capabilities(tables)
    .map(({ device }) => device)
    .filter((device) => !used.has(device))
  const chosen = [...used, ...others].slice(0, EXACT_DEVICES).sort((a, b) => a - b)
  const inner = chosen.flatMap((device, i) =>
    wanted.starters.includes(device) ? [i] : [],
  )
  const { absent = [], combine } = wanted
  const fees = chosen.map((device) => absent[device] ?? 0)
  const outside =
    combine === 'sum' ? absence(absent, 0) - fees.reduce((a, b) => a + b, 0) : 0
  const below = Math.min(found?.value ?? Infinity, wanted.below ?? Infinity) - outside
  const exact = solveExact(subset(tables, chosen), {
    combine,
    starters: inner,
    absent: fees,
    below,
    ...(wanted.must === undefined ? {} : { must: chosen.indexOf(wanted.must) }),
  })
  const effort = (found?.effort ?? 0) + (exact?.effort ?? 0)
  if (exact) {
    const hops = exact.hops.map((hop) => ({ ...hop, device: chosen[hop.device] ?? -1 }))
    return { value: exact.value + outside, hops, effort }
  }
  return found && { ...found, effort }
}

/** The beam search alone. */
export const solveBeam: Solver = (
  tables,
  { combine, starters, must, absent = [], below = Infinity },
): Found | null => {
  const { devices, layers } = tables
  const stride = layers + 1
  const add = combine === 'sum' ? (a: number, b: number) => a + b : Math.max
  const bound = fillBound(tables, combine)
  const left = workAfter(tables)
  let effort = 0
  const closed: { value: number; last: Prefix | null } = { value: below, last: null }
  let front: Prefix[] = []
  const hopeOf = (value: number, used: number, to: number) =>
    add(value, bound(used, left[to] ?? 0))
  const close = (last: Prefix) => {
    if (last.to !== layers) return
    if (must !== undefined && !(last.used & (1 << must))) return
    const link = tables.link[last.device * devices + last.starter]?.[layers] ?? Infinity
    const open = last.before ? add(last.value, link) : last.value
    const value = combine === 'sum' ? open + absence(absent, last.used) : open
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
    const next = new Map<number, Prefix>()
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
          const key = ((used * devices + before.starter) * devices + device) * stride + to
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

/** A lower bound of the aim's value over all rings. */
export function lowerBound(tables: TimeTables, aim: Aim): number {
  const work = tables.work.reduce((a, b) => a + b, 0)
  const head = least(tables.start)
  const lap = fillBound(tables, 'sum')(0, work) + head + linkBound(tables, work)
  if (aim.load === 'lap') return lap
  return Math.max(fillBound(tables, 'max')(0, work), head, lap / aim.inFlight)
}

/** A ring of as many devices as the memory asks for has as many links. */
function linkBound(tables: Tables, work: number): number {
  const rooms = capabilities(tables).map(({ room }) => room)
  let [left, devices] = [work * (1 - 1e-9), 0]
  for (const room of rooms.sort((a, b) => b - a)) {
    if (left <= 0) break
    left -= room
    devices++
  }
  return devices > 1 ? devices * least(tables.link) : 0
}

function least(tables: readonly Float64Array[]): number {
  let smallest = Infinity
  for (const table of tables) for (const x of table) smallest = Math.min(smallest, x)
  return smallest < Infinity ? smallest : 0
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
