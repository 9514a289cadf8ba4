/**
 * The exact planner: a dynamic programme over (set of used devices, last device, layers
 * placed). It covers all contiguous spans, device orders, starters and devices left out.
 */
import type { Hop, Tables } from './tables.ts'

/** Sum: a lap. Max: the busiest. */
export type Combine = 'sum' | 'max'

export interface Wanted {
  readonly combine: Combine
  /** Indices of devices that may be the starter, in order of preference among equals. */
  readonly starters: readonly number[]
  /** Index of a device that must have layers or be the starter. */
  readonly must?: number
}

export interface Found {
  /** Sum or maximum over the hops and their links. */
  readonly value: number
  readonly hops: readonly Hop[]
  /** Transitions looked at. */
  readonly effort: number
}

export type Solver = (tables: Tables, wanted: Wanted) => Found | null

/** Most devices that `solveExact` takes. */
export const EXACT_DEVICES = 8

/**
 * Finds the best ring, or null if there is none. At most `EXACT_DEVICES` devices.
 * Among equals the first found stays, so the answer depends on the tables' order only.
 */
export const solveExact: Solver = (tables, { combine, starters, must }) => {
  const { devices, layers } = tables
  if (devices > EXACT_DEVICES)
    throw new Error(`${devices} devices are too many for this solver.`)
  const stride = layers + 1
  const sum = combine === 'sum'
  const rest = sum ? restAfter(tables) : new Float64Array(stride)
  const value = new Float64Array((1 << devices) * devices * stride)
  const origin = new Int32Array(value.length)
  const mustBit = must === undefined ? 0 : 1 << must
  let best = Infinity
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
          const total = sum ? open + close : Math.max(open, close)
          if (total < best) {
            best = total
            end = row + layers
          }
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
            if (!(base + (rest[p] ?? 0) < best)) continue
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
  return best < Infinity ? { value: best, hops, effort } : null
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

/** A lower bound of what the layers from each border on will cost on any device. */
function restAfter({ layers, span, work }: Tables): Float64Array {
  const stride = layers + 1
  let rate = Infinity
  for (const table of span)
    for (let from = 0; from < layers; from++)
      for (let to = from + 1, w = 0; to <= layers; to++) {
        w += work[to - 1] ?? 0
        if (w > 0) rate = Math.min(rate, (table[from * stride + to] ?? Infinity) / w)
      }
  const rest = new Float64Array(stride)
  if (rate === Infinity) return rest
  for (let p = layers - 1; p >= 0; p--)
    rest[p] = (rest[p + 1] ?? 0) + rate * (work[p] ?? 0) * (1 - 1e-9)
  return rest
}
