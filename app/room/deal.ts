/** What a deal of the layers is told and what it answers. */
import type { Manifest } from '../../model-split/manifest.ts'
import type { RingStage } from '../../workers/ring/types.ts'

export interface DealDevice {
  readonly device: string
  readonly join: number
  readonly engine: 'wasm' | 'webgpu'
  /** Bytes it lends. */
  readonly memoryBudget: number
  /** For one token, ms; null until measured. */
  readonly msPerLayer: number | null
  readonly msStarter: number | null
  /** Round trips from it, ms. */
  readonly links: readonly { readonly device: string; readonly rttMs: number | null }[]
}

export type Dealt =
  | { readonly kind: 'plan'; readonly stages: readonly RingStage[] }
  | { readonly kind: 'short'; readonly missingBytes: number }

/** @param now how it is dealt now, or null; a deal may stick to it. */
export type Deal = (
  manifest: Manifest,
  devices: readonly DealDevice[],
  now: readonly RingStage[] | null,
) => Dealt

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
