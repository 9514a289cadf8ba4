/**
 * Which boundary layers neighbours should both hold (LinguaLinked's second programme, arXiv
 * 2312.00388, section 4.3): a boundary then slides without moving weights.
 */
import type { ModelCosts } from './costs.ts'
import { cacheBytes, weightBytes } from './memory.ts'
import type { CacheReserve } from './memory.ts'
import type { PlanDevice, PlannedStage } from './types.ts'

/** Layers around the boundary between two stages that both hold: `[from, to)`. */
export interface Overlap {
  /** The stage whose layers end at `boundary`, and the one whose layers begin there. */
  readonly left: string
  readonly right: string
  readonly boundary: number
  /** `[from, boundary)` are also on the right, `[boundary, to)` also on the left. */
  readonly from: number
  readonly to: number
}

/** How many layers cross a boundary: of the left stage to the right, and the other way. */
interface Share {
  readonly toRight: number
  readonly toLeft: number
}

interface State extends Share {
  readonly bytes: number
  /** Sum of the squares of what crosses each boundary each way. */
  readonly uneven: number
  readonly before: State | null
}

/**
 * Maximises the bytes of weights (as stored) that two neighbours hold, one entry for every
 * boundary of the plan. Every layer has at most one extra copy, extra layers are contiguous
 * from the boundary, at most `most` of them each way, and with the caches that they would need
 * they fit what each device's own weights and caches leave of its budget. Extra layers are held
 * in the holder's mode. Among the best ones both neighbours of a stage hold alike many of its layers.
 */
export function overlapLayers(
  stages: readonly PlannedStage[],
  costs: ModelCosts,
  devices: readonly PlanDevice[],
  reserve: CacheReserve,
  most = Infinity,
): Overlap[] {
  const budgets = new Map(devices.map(({ id, memoryBudget }) => [id, memoryBudget]))
  const stored = (from: number, to: number) =>
    weightBytes(costs, 'packed', from, to, false)
  /** Whether stage i can hold `before` layers more in front and `after` behind. */
  const fits = (i: number, before: number, after: number): boolean => {
    const stage = stages[i]
    if (!stage) return before === 0 && after === 0
    const { device, from, to, mode } = stage
    if (before === 0 && after === 0) return true
    const [first, end] = [from - before, to + after]
    const weights = weightBytes(costs, mode, first, end, i === 0)
    return weights + cacheBytes(costs, first, end, reserve) <= (budgets.get(device) ?? 0)
  }
  const length = (i: number) => (stages[i]?.to ?? 0) - (stages[i]?.from ?? 0)
  const across = (i: number) => Math.min(most, length(i))

  let front: State[] = [{ toRight: 0, toLeft: 0, bytes: 0, uneven: 0, before: null }]
  for (let i = 0; i + 1 < stages.length; i++) {
    const boundary = stages[i]?.to ?? 0
    const next: State[] = []
    for (let toRight = 0; toRight <= across(i); toRight++) {
      for (let toLeft = 0; toLeft <= across(i + 1); toLeft++) {
        let best: State | null = null
        const gain =
          stored(boundary - toRight, boundary) + stored(boundary, boundary + toLeft)
        for (const before of front) {
          // Of stage i, `before.toLeft` layers are on its left and `toRight` on its right.
          if (before.toLeft + toRight > length(i) || !fits(i, before.toRight, toLeft))
            continue
          const bytes = before.bytes + gain
          const uneven = before.uneven + toRight ** 2 + toLeft ** 2
          const state = { toRight, toLeft, bytes, uneven, before }
          if (isBetter(state, best)) best = state
        }
        if (best && fits(i + 1, toRight, 0)) next.push(best)
      }
    }
    front = next
  }
  let best = front[0] ?? null
  for (const state of front) if (isBetter(state, best)) best = state

  const overlaps: Overlap[] = []
  for (let i = stages.length - 2, at = best; i >= 0 && at; i--, at = at.before) {
    const [left, right] = [stages[i], stages[i + 1]]
    if (!left || !right) continue
    overlaps.unshift({
      left: left.device,
      right: right.device,
      boundary: left.to,
      from: left.to - at.toRight,
      to: left.to + at.toLeft,
    })
  }
  return overlaps
}

function isBetter(state: State, than: State | null): boolean {
  if (!than || state.bytes !== than.bytes) return !than || state.bytes > than.bytes
  return state.uneven < than.uneven
}
