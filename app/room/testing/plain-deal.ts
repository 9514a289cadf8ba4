/**
 * A plain deal for tests that are not about dealing: the busiest stage gets as little time as
 * possible in the order starter first, then by join number.
 */
import type { Dtype, Manifest } from '../../../model-split/manifest.ts'
import { evaluate } from '../../../model-split/manifest.ts'
import { blobsOf, cachesOf, type Span } from '../../../model-split/span.ts'
import type { RingStage } from '../../../workers/ring/types.ts'
import type { Deal, DealDevice, Known } from '../deal.ts'

/** Rows of context that a plan leaves room for. */
export const PLANNED_ROWS = 1024
/** Weights in memory against weights on disk: sessions, buffers, what lies between layers. */
const OVERHEAD = 1.15
const BITS: Partial<Record<Dtype, number>> = {
  float64: 64,
  int64: 64,
  uint64: 64,
  float32: 32,
  int32: 32,
  uint32: 32,
  int8: 8,
  uint8: 8,
  bool: 8,
  int4: 4,
  uint4: 4,
}

/** Bytes that a span takes at least: weights, with overhead, and caches of one sequence. */
export function bytesOf(manifest: Manifest, span: Span): number {
  const weights = blobsOf(manifest, span).reduce(
    (sum, id) => sum + (manifest.blobs[id]?.bytes ?? 0),
    0,
  )
  const rows = Math.min(PLANNED_ROWS, manifest.context)
  const caches = cachesOf(manifest, span).reduce((sum, cache) => {
    const elements = cache.dims.reduce((n, dim) => n * evaluate(dim, 1, 1, rows), 1)
    return sum + (elements * (BITS[cache.dtype] ?? 16)) / 8
  }, 0)
  return Math.ceil(weights * OVERHEAD + caches)
}

/** Assumed for one layer where nobody has measured yet, ms. */
export const GUESS_MS = 5

/** Assumed speeds: the median of the known ones where a device has not measured. */
export function speedsOf(devices: readonly DealDevice[]): Map<string, number> {
  const known = devices.flatMap((d) => (d.msPerLayer === null ? [] : [d.msPerLayer]))
  const median = known.sort((a, b) => a - b)[Math.floor(known.length / 2)] ?? GUESS_MS
  return new Map(devices.map((d) => [d.device, Math.max(0.001, d.msPerLayer ?? median)]))
}

/** Time of the busiest stage for one token, ms; infinite where a device is not there. */
export function busiestOf(
  stages: readonly RingStage[],
  devices: readonly DealDevice[],
): number {
  const speeds = speedsOf(devices)
  return stages.reduce((busiest, { device, from, to }, i) => {
    const starter = devices.find((d) => d.device === device)?.msStarter ?? 0
    const time = (speeds.get(device) ?? Infinity) * (to - from) + (i === 0 ? starter : 0)
    return Math.max(busiest, time)
  }, 0)
}

export interface LayerCosts {
  readonly layers: readonly number[]
  /** Embedding and head. */
  readonly starter: number
}

export function costsOf(manifest: Manifest): LayerCosts {
  const { layers } = manifest
  const edge = (span: Span): number => bytesOf(manifest, span)
  return {
    layers: Array.from({ length: layers }, (_, k) =>
      edge({ from: k, to: k + 1, embed: false, head: false }),
    ),
    starter:
      edge({ from: 0, to: 0, embed: true, head: false }) +
      edge({ from: layers, to: layers, embed: false, head: true }),
  }
}

const cached = new WeakMap<Manifest, LayerCosts>()

/** Deals a model of any size to up to 16 devices. */
export const dealLayers: Deal = (manifest, devices, now) => {
  const costs = cached.get(manifest) ?? costsOf(manifest)
  cached.set(manifest, costs)
  const dealt = dealCosts(costs, devices, now?.[0]?.device ?? null)
  if (dealt.kind === 'short' || !now) return dealt
  const nowMs = busiestOf(now, devices)
  return { ...dealt, nowMs: nowMs < Infinity ? nowMs : null }
}

/** As `dealLayers`, with the bytes of each layer given. */
export function dealCosts(
  costs: LayerCosts,
  devices: readonly DealDevice[],
  starterNow: string | null,
): Known {
  const sorted = [...devices].sort((a, b) => a.join - b.join)
  const speeds = speedsOf(sorted)
  let best: { busiest: number; stages: readonly RingStage[] } | null = null
  // The present starter first: an equal plan does not move the embedding and the head.
  const starters = [...sorted].sort(
    (a, b) => Number(b.device === starterNow) - Number(a.device === starterNow),
  )
  for (const starter of starters) {
    const order = [starter, ...sorted.filter((d) => d !== starter)]
    const found = dealInOrder(costs, order, speeds)
    if (found && (!best || found.busiest < best.busiest - 1e-9)) best = found
  }
  if (best) {
    const { stages, busiest } = best
    return { kind: 'plan', stages, leftOut: [], ms: busiest, nowMs: null, moveMs: 0 }
  }
  const need = costs.starter + costs.layers.reduce((sum, bytes) => sum + bytes, 0)
  const have = sorted.reduce((sum, d) => sum + d.memoryBudget, 0)
  // Enough in total can still be too little where no layer fits what is left of each.
  return { kind: 'short', missingBytes: Math.max(need - have, ...costs.layers, 1) }
}

/** Smallest busiest stage for devices in ring order; exact dynamic programme. */
function dealInOrder(
  { layers, starter }: LayerCosts,
  order: readonly DealDevice[],
  speeds: ReadonlyMap<string, number>,
): { busiest: number; stages: readonly RingStage[] } | null {
  const n = layers.length
  const upTo = layers.reduce<number[]>(
    (sums, bytes) => [...sums, (sums.at(-1) ?? 0) + bytes],
    [0],
  )
  /** best[l]: the first devices hold the first l layers. */
  let best: ({ busiest: number; cuts: readonly number[] } | null)[] = [
    { busiest: 0, cuts: [] },
    ...Array.from({ length: n }, () => null),
  ]
  order.forEach((device, i) => {
    const cap = device.memoryBudget - (i === 0 ? starter : 0)
    const ms = speeds.get(device.device) ?? GUESS_MS
    const extra = i === 0 ? (device.msStarter ?? 0) : 0
    best = best.map((_, to) => {
      let chosen: { busiest: number; cuts: readonly number[] } | null = null
      for (let from = to; from >= 0; from -= 1) {
        const bytes = (upTo[to] ?? 0) - (upTo[from] ?? 0)
        if (bytes > cap) break
        const before = best[from]
        if (!before) continue
        const busiest = Math.max(before.busiest, ms * (to - from) + extra)
        if (!chosen || busiest < chosen.busiest - 1e-9)
          chosen = { busiest, cuts: [...before.cuts, to] }
      }
      return chosen
    })
  })
  const end = best[n]
  if (!end) return null
  const stages = order
    .map(({ device }, i) => ({
      device,
      from: end.cuts[i - 1] ?? 0,
      to: end.cuts[i] ?? n,
    }))
    .filter(({ from, to }, i) => i === 0 || to > from)
  return { busiest: end.busiest, stages }
}
