/** Deals to compare the planner with: measurements, and people who are curious, choose them. */
import type { RingStage } from '../../workers/ring/types.ts'
import type { Deal, DealDevice } from './deal.ts'
import { overlapsOf } from './overlap.ts'

/** Planned when devices come or go, and never moved for speed. */
const stillDeal =
  (planned: Deal): Deal =>
  (manifest, devices, now, load) =>
    stays(devices, now) ?? planned(manifest, devices, now, load)

/** Planned for speed alone: whoever makes tokens come later is left out. */
const fastDeal =
  (planned: Deal): Deal =>
  (manifest, devices, now, load) =>
    planned(
      manifest,
      devices.map((device) => ({ ...device, well: false })),
      now,
      load,
    )

/** As many layers for each as for the next, in the order of joining; the first one starts. */
export const equalDeal: Deal = (manifest, devices, now) => {
  const kept = stays(devices, now)
  if (kept) return kept
  const inOrder = [...devices].sort((a, b) => a.join - b.join)
  const border = (i: number) => Math.round((i * manifest.layers) / inOrder.length)
  const stages = inOrder.map(({ device }, i) => ({
    device,
    from: border(i),
    to: border(i + 1),
  }))
  return { kind: 'plan', stages, leftOut: [], ms: 1, nowMs: null, moveMs: 0 }
}

/** As somebody at the coordinator says; until then an equal one. */
export class HandDeal {
  #layers: readonly number[] | null = null

  /** @param layers of each device in the order of joining; together the whole model. */
  tell(layers: readonly number[]): void {
    this.#layers = layers
  }

  readonly deal: Deal = (manifest, devices, now, load) => {
    const dealt = equalDeal(manifest, devices, now, load)
    if (dealt.kind !== 'plan') return dealt
    // What is compared with the planner holds nothing besides; this one shows how it moves.
    const equal = now ? { ...dealt, holds: overlapsOf(manifest, devices, now) } : dealt
    const layers = this.#layers
    const whole = layers?.reduce((sum, count) => sum + count, 0) === manifest.layers
    if (layers?.length !== devices.length || !whole) return equal
    let next = 0
    const stages = [...devices]
      .sort((a, b) => a.join - b.join)
      .map(({ device }, i) => {
        const from = next
        next += layers[i] ?? 0
        return { device, from, to: next }
      })
    return { ...equal, stages, told: true }
  }
}

export function dealNamed(name: string, planned: Deal): Deal {
  if (name === 'still') return stillDeal(planned)
  if (name === 'fast') return fastDeal(planned)
  return name === 'equal' ? equalDeal : planned
}

/** The present plan where it uses just these devices. */
function stays(
  devices: readonly DealDevice[],
  now: readonly RingStage[] | null,
): ReturnType<Deal> | null {
  const same =
    now?.length === devices.length &&
    now.every((stage) => devices.some(({ device }) => device === stage.device))
  if (!same) return null
  return { kind: 'plan', stages: now, leftOut: [], ms: 1, nowMs: 1, moveMs: 0 }
}
