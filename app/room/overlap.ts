/**
 * What devices hold beside their spans: dealt once a plan serves and nobody asks, so that
 * nothing waits for it, and again when a device lends more or less or its page is hidden.
 */
import { modelCosts } from '../../model-split/plan/costs.ts'
import { overlapLayers } from '../../model-split/plan/overlap.ts'
import { PLANNED_ROWS } from '../../model-split/plan/reserve.ts'
import type { PlannedStage } from '../../model-split/plan/types.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import type { RingPlan, RingStage } from '../../workers/ring/types.ts'
import type { Decision, Memory, Situation } from './coordinator.ts'
import type { DealDevice, Dealt } from './deal.ts'
import { runningIn } from './running.ts'

/** Nobody asks for so long, ms. */
export const QUIET_MS = 2000
/**
 * Layers on each side of a border that both neighbours hold at most: a whole stage in rooms of
 * three, so that one that slows down is relieved without waiting for weights.
 */
const MOST_LAYERS = 12
/** Rows of cache that stay free. */
const SPARE_ROWS = 2 * PLANNED_ROWS

/** Layers that each stage of a plan should hold beside its own. */
export function overlapsOf(
  manifest: Manifest,
  devices: readonly DealDevice[],
  stages: readonly RingStage[],
): number[][] {
  const known = stages.map(({ device }) => devices.find((one) => one.device === device))
  const planned = stages.map(({ device, from, to }, i): PlannedStage => ({
    ...{ device, from, to },
    mode: known[i]?.mode ?? 'packed',
  }))
  const lenders = known.flatMap((one) =>
    one ? [{ id: one.device, modes: [], memoryBudget: one.memoryBudget }] : [],
  )
  const costs = modelCosts(manifest)
  const reserve = { contextTokens: Math.min(SPARE_ROWS, costs.context), sequences: 1 }
  const overlaps = overlapLayers(planned, costs, lenders, reserve, MOST_LAYERS)
  return planned.map(({ from, to }, i) => [
    ...range(overlaps[i - 1]?.from ?? from, from),
    ...range(to, overlaps[i]?.to ?? to),
  ])
}

export function dealOverlap(
  situation: Situation,
  serving: RingPlan,
  dealt: Extract<Dealt, { kind: 'plan' }>,
  memory: Memory,
): Decision {
  const { now, facts } = situation
  const { epoch, stages } = serving
  const quietSince = runningIn(situation) > 0 ? null : (memory.quietSince ?? now)
  const wait = { event: null, memory: { ...memory, quietSince } }
  if (quietSince === null || now - quietSince < QUIET_MS || !dealt.holds) return wait
  const isVisible = stages.map(({ device }) => facts.get(device)?.visible ?? false)
  const lent = stages.map(({ device }) => facts.get(device)?.memoryBudget ?? 0)
  const heldFor = JSON.stringify([epoch, isVisible, lent])
  if (heldFor === memory.heldFor) return wait
  const holds = dealt.holds.map((layers, i) => (isVisible[i] ? layers : []))
  return { event: { kind: 'hold', epoch, holds }, memory: { ...wait.memory, heldFor } }
}

/** Layers `[from, to)`, one by one. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i)
}
