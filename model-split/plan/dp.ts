/**
 * The exact planner: a dynamic programme over (set of used devices, last device, layers
 * placed). It covers all contiguous spans, device orders, starters and devices left out.
 */
import { fillBound, workAfter } from './bounds.ts'
import type { Combine } from './bounds.ts'
import type { Hop, Tables } from './tables.ts'

export interface Wanted {
  /** Sum: a lap. Max: the busiest. */
  readonly combine: Combine
  /** Indices of devices that may be the starter, in order of preference among equals. */
  readonly starters: readonly number[]
  /** Index of a device that must have layers or be the starter. */
  readonly must?: number
  /** Per device, what a sum costs more without it; the returned value contains it. */
  readonly absent?: readonly number[]
  /** Only rings that cost less are wanted. */
  readonly below?: number
}

export interface Found {
  /** Sum or maximum over the hops and their links. */
  readonly value: number
  readonly hops: readonly Hop[]
  /** Transitions looked at. */
  readonly effort: number
}

export type Solver = (tables: Tables, wanted: Wanted) => Found | null

/** What the devices outside the set `used` (bits) cost. */
export function absence(absent: readonly number[], used: number): number {
  return absent.reduce((sum, fee, device) => (used & (1 << device) ? sum : sum + fee), 0)
}

/** Most devices that `solveExact` takes. */
export const EXACT_DEVICES = 8

/**
 * Finds the best ring, or null if there is none. At most `EXACT_DEVICES` devices.
 * Among equals the first found stays, so the answer depends on the tables' order only.
 */
export const solveExact: Solver = (
  tables,
  { combine, starters, must, absent = [], below = Infinity },
) => {
  const { devices, layers } = tables
  if (devices > EXACT_DEVICES)
    throw new Error(`${devices} devices are too many for this solver.`)
  const stride = layers + 1
  const sum = combine === 'sum'
  const bound = fillBound(tables, combine)
  const left = workAfter(tables)
  const value = new Float64Array((1 << devices) * devices * stride)
  const origin = new Int32Array(value.length)
  const mustBit = must === undefined ? 0 : 1 << must
  let best = below
  let hops: Hop[] = []
  let effort = 0

  for (const starter of starters) {
    value.fill(Infinity)
    origin.fill(-1)
    const own = tables.start[starter] ?? EMPTY
    value.set(own, ((1 << starter) * devices + starter) * stride)
    let end = -1
    for (let mask = 1 << starter; mask < 1 << devices; mask++) {
      if (!(mask & (1 << starter))) continue
      for (let last = 0; last < devices; last++) {
        const alone = mask === 1 << starter
        if (!(mask & (1 << last)) || (last === starter) !== alone) continue
        const row = (mask * devices + last) * stride
        if ((mask & mustBit) === mustBit) {
          const open = value[row + layers] ?? Infinity
          const close = alone
            ? 0
            : (tables.link[last * devices + starter]?.[layers] ?? Infinity)
          const total = sum ? open + close + absence(absent, mask) : Math.max(open, close)
          if (total < best) {
            best = total
            end = row + layers
          }
        }
        // Beginnings that cannot become better than the best ring end here.
        for (let p = 0; p < layers; p++) {
          const here = value[row + p] ?? Infinity
          if (here === Infinity) continue
          const rest = bound(mask, left[p] ?? 0)
          if (!((sum ? here + rest : Math.max(here, rest)) < best))
            value[row + p] = Infinity
        }
        for (let next = 0; next < devices; next++) {
          if (mask & (1 << next)) continue
          const target = ((mask | (1 << next)) * devices + next) * stride
          const link = tables.link[last * devices + next] ?? EMPTY
          const span = tables.span[next] ?? EMPTY
          for (let p = 0; p < layers; p++) {
            const here = value[row + p] ?? Infinity
            const hop = link[p] ?? Infinity
            const base = sum ? here + hop : Math.max(here, hop)
            if (!(base < best)) continue
            for (let q = p + 1; q <= layers; q++) {
              const cost = span[p * stride + q] ?? Infinity
              if (cost === Infinity) continue
              effort++
              const total = sum ? base + cost : Math.max(base, cost)
              if (total < (value[target + q] ?? Infinity)) {
                value[target + q] = total
                origin[target + q] = row + p
              }
            }
          }
        }
      }
    }
    if (end >= 0) hops = trace(origin, end, devices, stride)
  }
  return hops.length > 0 ? { value: best, hops, effort } : null
}

const EMPTY = new Float64Array(0)

function trace(origin: Int32Array, end: number, devices: number, stride: number): Hop[] {
  const hops: Hop[] = []
  for (let at = end; at >= 0;) {
    const before = origin[at] ?? -1
    const from = before >= 0 ? before % stride : 0
    hops.unshift({ device: Math.floor(at / stride) % devices, from, to: at % stride })
    at = before
  }
  return hops
}
