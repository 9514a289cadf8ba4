/**
 * Rooms to plan for, drawn from seeds, and the split that the planner is compared with.
 *
 * Rooms are like those of LinguaLinked (arXiv 2312.00388), which ran on fast and slow Android
 * phones with no phone able to hold more than half of the model:
 * - phones of three kinds: flagships, middle and low-end ones, with speeds 1 : 0.5 : 0.25, each off
 *   by up to 20 %. They arrive in any order.
 * - `mixed`: three to eight phones, each number equally often. One flagship, one low-end phone,
 *   the others of any kind. More cannot be planned exactly.
 * - `one of each`: one of each kind, and in every second room one more of any kind.
 * - `flagships and one low-end`: two or three flagships, one low-end phone: the phones of the
 *   paper's own experiments.
 * - `processors`: as `mixed`, but phones may also be of a fourth kind, speed 0.125: they compute
 *   with their processor, the others with their graphics chip.
 * - a flagship lends half of the model's bytes, a middle phone 40 to 50 %, a low-end one 30 to
 *   45 %, a processor 20 to 35 %, caches of as many sequences as phones included; a starter needs
 *   embedding and head within that, too.
 * - Wi-Fi: round trips of 4 to 15 ms; in every third room one phone is far from the access
 *   point, and its links take 20 to 40 ms more. 2 to 10 MB/s.
 * - a flagship needs 1.5 ms for a layer. Embedding and head are estimated by their work.
 */
import type { ModelCosts } from '../../model-split/plan/costs.ts'
import { cacheBytes, fittingMode } from '../../model-split/plan/memory.ts'
import type { CacheReserve } from '../../model-split/plan/memory.ts'
import type { PlanDevice, PlanLinks, Stage } from '../../model-split/plan/types.ts'

const FLAGSHIP_MS = 1.5
const CONTEXT = 512

interface Kind {
  readonly speed: number
  /** Share of the model's bytes, at least and at most. */
  readonly lends: readonly [number, number]
}

const FLAGSHIP: Kind = { speed: 1, lends: [0.5, 0.5] }
const MIDDLE: Kind = { speed: 0.5, lends: [0.4, 0.5] }
const LOW_END: Kind = { speed: 0.25, lends: [0.3, 0.45] }
const PROCESSOR: Kind = { speed: 0.125, lends: [0.2, 0.35] }
const KINDS = [FLAGSHIP, MIDDLE, LOW_END]

export const FAMILIES = [
  'mixed',
  'one of each',
  'flagships and one low-end',
  'processors',
] as const
export type Family = (typeof FAMILIES)[number]

export interface Room {
  readonly devices: readonly PlanDevice[]
  readonly links: PlanLinks
  readonly reserve: CacheReserve
}

function drawKinds(random: () => number, family: Family): Kind[] {
  const upTo = (n: number) => Math.floor(random() * n)
  const any = (kinds: readonly Kind[]) => kinds[upTo(kinds.length)] ?? FLAGSHIP
  switch (family) {
    case 'one of each':
      return [...KINDS, ...(upTo(2) > 0 ? [any(KINDS)] : [])]
    case 'flagships and one low-end':
      return [FLAGSHIP, FLAGSHIP, LOW_END, ...(upTo(2) > 0 ? [FLAGSHIP] : [])]
    case 'mixed':
    case 'processors': {
      const kinds = family === 'mixed' ? KINDS : [...KINDS, PROCESSOR]
      const others = Array.from({ length: 1 + upTo(6) }, () => any(kinds))
      return [FLAGSHIP, LOW_END, ...others]
    }
  }
}

export function drawRoom(random: () => number, costs: ModelCosts, family: Family): Room {
  const between = (low: number, high: number) => low + (high - low) * random()
  const arrivals = drawKinds(random, family)
    .map((kind) => ({ kind, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ kind }) => kind)
  const reserve = { contextTokens: CONTEXT, sequences: arrivals.length }
  const caches = cacheBytes(costs, 0, costs.layers, reserve)
  const whole = (costs.starterBytes.packed[costs.layers] ?? 0) + caches
  const devices = arrivals.map(({ speed, lends }, i) => ({
    id: `phone ${i + 1}`,
    modes: [
      { mode: 'packed' as const, msPerLayer: FLAGSHIP_MS / (speed * between(0.8, 1.2)) },
    ],
    memoryBudget: Math.floor(whole * between(lends[0], lends[1])),
  }))
  const far = random() < 1 / 3 ? Math.floor(random() * devices.length) : -1
  const rttMs = devices.map(() => devices.map(() => 0))
  const bytesPerMs = devices.map(() => devices.map(() => 0))
  devices.forEach((_, i) => {
    for (let j = 0; j < i; j++) {
      const rtt = between(4, 15) + (i === far || j === far ? between(20, 40) : 0)
      const bandwidth = between(2000, 10_000)
      rttMs[i]![j] = rttMs[j]![i] = rtt
      bytesPerMs[i]![j] = bytesPerMs[j]![i] = bandwidth
    }
  })
  return { devices, links: { rttMs, bytesPerMs }, reserve }
}

export interface EqualSplit {
  readonly stages: readonly Stage[]
  /** Layers that had to move for want of memory. */
  readonly moved: number
}

/**
 * As many layers on each device as on the next, in the order of arrival; the first one starts.
 * Where that does not fit, the split nearest to it, by layers moved; null where none fits.
 */
export function equalSplit(
  costs: ModelCosts,
  { devices, reserve }: Room,
): EqualSplit | null {
  const { layers } = costs
  const each = Math.floor(layers / devices.length)
  const equal = devices.map((_, i) => each + (i < layers % devices.length ? 1 : 0))
  /** By the number of layers that the devices so far have. */
  let best = new Map<number, { stages: readonly Stage[]; off: number }>([
    [0, { stages: [], off: 0 }],
  ])
  for (const [i, device] of devices.entries()) {
    const next: typeof best = new Map()
    for (const [from, { stages, off }] of best)
      for (let to = i === 0 ? from : from + 1; to <= layers; to++) {
        if (!fittingMode(costs, device, from, to, i === 0, reserve)) break
        const sum = off + Math.abs(to - from - (equal[i] ?? 0))
        if (sum >= (next.get(to)?.off ?? Infinity)) continue
        next.set(to, { stages: [...stages, { device: device.id, from, to }], off: sum })
      }
    best = next
  }
  const found = best.get(layers)
  return found ? { stages: found.stages, moved: found.off / 2 } : null
}
