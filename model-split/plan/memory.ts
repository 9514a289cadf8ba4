/** Whether spans fit into devices, and in which mode. */
import type { ModelCosts } from './costs.ts'
import type { ModeSpeed, PlanDevice } from './types.ts'

export interface CacheReserve {
  readonly contextTokens: number
  readonly sequences: number
}

/** Cache bytes of layers `[from, to)`. */
export function cacheBytes(
  costs: ModelCosts,
  from: number,
  to: number,
  { contextTokens, sequences }: CacheReserve,
): number {
  let bytes = 0
  for (let layer = from; layer < to; layer++)
    bytes += (costs.stateBytes[layer] ?? 0) + contextTokens * (costs.rowBytes[layer] ?? 0)
  return sequences * bytes
}

/** Weight bytes of layers `[from, to)`; on a starter with embedding and head. */
export function weightBytes(
  costs: ModelCosts,
  mode: ModeSpeed['mode'],
  from: number,
  to: number,
  starter: boolean,
): number {
  const table = starter ? costs.starterBytes[mode] : costs.spanBytes[mode]
  return table[starter ? to : from * (costs.layers + 1) + to] ?? Infinity
}

/** The fastest mode in which the span and its caches fit the device, or null. */
export function fittingMode(
  costs: ModelCosts,
  device: PlanDevice,
  from: number,
  to: number,
  starter: boolean,
  reserve: CacheReserve,
): ModeSpeed | null {
  const room = device.memoryBudget - cacheBytes(costs, from, to, reserve)
  let best: ModeSpeed | null = null
  for (const speed of device.modes) {
    if (best && best.msPerLayer <= speed.msPerLayer) continue
    if (weightBytes(costs, speed.mode, from, to, starter) <= room) best = speed
  }
  return best
}

/** Bytes that the device lacks for the span in the mode that takes least. */
export function lackingBytes(
  costs: ModelCosts,
  device: PlanDevice,
  from: number,
  to: number,
  starter: boolean,
  reserve: CacheReserve,
): number {
  const weights = device.modes.map(({ mode }) =>
    weightBytes(costs, mode, from, to, starter),
  )
  const needed = Math.min(...weights) + cacheBytes(costs, from, to, reserve)
  return Math.max(0, Math.ceil(needed - device.memoryBudget))
}

/** Milliseconds of one token on a starter's embedding and head. */
export function starterMs(
  costs: ModelCosts,
  device: PlanDevice,
  speed: ModeSpeed,
): number {
  return device.msStarter ?? costs.starterWork * speed.msPerLayer
}

/** Work of layers `[from, to)`, in layers. */
export function workOf(costs: ModelCosts, from: number, to: number): number {
  let work = 0
  for (let layer = from; layer < to; layer++) work += costs.work[layer] ?? 0
  return work
}
