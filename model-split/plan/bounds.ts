/** What the rest of a ring will cost at least: lets both solvers drop hopeless beginnings. */
import type { Tables } from './tables.ts'

export type Combine = 'sum' | 'max'

/** Least cost of some work on devices outside the set `used` (bits); Infinity: no room. */
export type FillBound = (used: number, work: number) => number

interface Capability {
  readonly device: number
  /** Least cost of a unit of work. */
  readonly rate: number
  /** Most work that it can take. */
  readonly room: number
}

/** Devices that can take any layers, cheapest first. */
export function capabilities({ layers, span, start, work }: Tables): Capability[] {
  const stride = layers + 1
  const found: Capability[] = []
  span.forEach((table, device) => {
    let [rate, room, able] = [Infinity, 0, false]
    for (let from = 0; from < layers; from++)
      for (let to = from + 1, w = 0; to <= layers; to++) {
        w += work[to - 1] ?? 0
        const asStarter = from === 0 ? (start[device]?.[to] ?? Infinity) : Infinity
        const cost = Math.min(table[from * stride + to] ?? Infinity, asStarter)
        if (cost === Infinity) continue
        able = true
        room = Math.max(room, w)
        rate = Math.min(rate, w > 0 ? cost / w : 0)
      }
    if (able) found.push({ device, rate, room })
  })
  return found.sort((a, b) => a.rate - b.rate || a.device - b.device)
}

/** Fills the cheapest devices first, ignoring links and that layers cannot be divided. */
export function fillBound(tables: Tables, combine: Combine): FillBound {
  const able = capabilities(tables)
  return (used, work) => {
    let left = work * SLACK
    let [cost, speed] = [0, 0]
    for (const { device, rate, room } of able) {
      if (used & (1 << device)) continue
      cost += Math.max(0, Math.min(left, room)) * rate
      speed += 1 / rate
      left -= room
    }
    if (left > 0) return Infinity
    // The busiest is least when all free devices run all the time.
    return (combine === 'sum' ? cost : speed > 0 ? work / speed : 0) * SLACK
  }
}

/** Rounding errors must not make a bound larger than what it bounds. */
const SLACK = 1 - 1e-9

/** Work of the layers from each border on. */
export function workAfter({ layers, work }: Tables): Float64Array {
  const after = new Float64Array(layers + 1)
  for (let p = layers - 1; p >= 0; p--) after[p] = (after[p + 1] ?? 0) + (work[p] ?? 0)
  return after
}
