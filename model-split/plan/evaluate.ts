/** What a given plan costs, and what the paper's programme would say about it. */
import type { ModelCosts } from './costs.ts'
import { cacheBytes, fittingMode, starterMs, weightBytes, workOf } from './memory.ts'
import type { PlanDevice, PlannedStage, PlanLinks, PlanOptions, Stage } from './types.ts'

export interface Evaluation {
  readonly stages: readonly PlannedStage[]
  readonly lapMs: number
  readonly busiestMs: number
  /** Rows of cache per sequence that fit on every stage. */
  readonly contextTokens: number
  /** Per stage, one token: layers, and on the starter embedding and head. */
  readonly stageMs: readonly number[]
  /** Embedding, head and sampling of one token. */
  readonly starterMs: number
  /** Per stage: bytes of the budget that neither weights nor reserved caches take. */
  readonly freeBytes: readonly number[]
}

/**
 * Predicts a plan, stages in ring order with the starter first. Null if the plan does not
 * cover the model, names a device twice or one that is not there, lacks a link, or does not
 * fit.
 */
export function evaluatePlan(
  stages: readonly Stage[],
  costs: ModelCosts,
  devices: readonly PlanDevice[],
  links: PlanLinks,
  reserve: Pick<PlanOptions, 'contextTokens' | 'sequences'>,
): Evaluation | null {
  if (!covers(stages, costs.layers)) return null
  const indices = stages.map((stage) =>
    devices.findIndex(({ id }) => id === stage.device),
  )
  if (new Set(indices).size < stages.length) return null
  const planned: PlannedStage[] = []
  const stageMs: number[] = []
  const freeBytes: number[] = []
  let lapMs = 0
  let headMs = 0
  let busiestMs = 0
  let contextTokens = costs.context
  for (const [i, stage] of stages.entries()) {
    const device = devices[indices[i] ?? -1]
    if (!device) return null
    const { from, to } = stage
    const speed = fittingMode(costs, device, from, to, i === 0, reserve)
    if (!speed) return null
    const head = i === 0 ? starterMs(costs, device, speed) : 0
    headMs += head
    const ms = workOf(costs, from, to) * speed.msPerLayer + head
    const room = device.memoryBudget - weightBytes(costs, speed.mode, from, to, i === 0)
    const fixed = cacheBytes(costs, from, to, { ...reserve, contextTokens: 0 })
    const row = cacheBytes(costs, from, to, { ...reserve, contextTokens: 1 }) - fixed
    if (row > 0) contextTokens = Math.min(contextTokens, Math.floor((room - fixed) / row))
    planned.push({ device: stage.device, from, to, mode: speed.mode })
    stageMs.push(ms)
    freeBytes.push(room - cacheBytes(costs, from, to, reserve))
    lapMs += ms
    busiestMs = Math.max(busiestMs, ms)
    if (stages.length === 1) continue
    const [a, b] = [indices[i] ?? -1, indices[(i + 1) % stages.length] ?? -1]
    const rtt = links.rttMs[a]?.[b] ?? Infinity
    if (rtt === Infinity) return null
    const transfer = (costs.borderBytes[to] ?? 0) / (links.bytesPerMs[a]?.[b] ?? Infinity)
    lapMs += rtt / 2 + transfer
    busiestMs = Math.max(busiestMs, transfer)
  }
  return {
    stages: planned,
    lapMs,
    busiestMs,
    contextTokens,
    stageMs,
    starterMs: headMs,
    freeBytes,
  }
}

/** Whether the stages follow one another from the first layer to the last. */
export function covers(stages: readonly Stage[], layers: number): boolean {
  let next = 0
  for (const [i, { from, to }] of stages.entries()) {
    if (from !== next || !Number.isSafeInteger(to) || to < from || (to === from && i > 0))
      return false
    next = to
  }
  return stages.length > 0 && next === layers
}

/** An instance of LinguaLinked's model assignment (arXiv 2312.00388, section 4.2). */
export interface PaperInstance {
  /** Work of each module; module 0 is on device 0. */
  readonly flops: readonly number[]
  readonly sizes: readonly number[]
  /** Work per ms of each device. */
  readonly speeds: readonly number[]
  readonly memory: readonly number[]
  readonly ping: readonly (readonly number[])[]
  readonly bandwidth: readonly (readonly number[])[]
  /** Bytes that module a sends to module b, sequential and residual. */
  readonly traffic: readonly (readonly number[])[]
}

/**
 * The paper's objective: compute of all modules, plus for every pair of devices its ping and
 * what they exchange. It differs from a lap in three ways: the ping counts for every pair,
 * used or not, and so is a constant; the way back from the last device to the first is free;
 * and there is no work for embedding and head apart from modules.
 * @param holder the device of each module.
 */
export function paperObjective(
  holder: readonly number[],
  instance: PaperInstance,
): number {
  const { flops, speeds, ping, bandwidth, traffic } = instance
  let total = 0
  flops.forEach((work, module) => (total += work / (speeds[holder[module] ?? -1] ?? 0)))
  speeds.forEach((_, i) =>
    speeds.forEach((_, k) => {
      if (i === k) return
      total += ping[i]?.[k] ?? 0
      traffic.forEach((row, a) =>
        row.forEach((bytes, b) => {
          if (holder[a] === i && holder[b] === k)
            total += bytes / (bandwidth[i]?.[k] ?? 0)
        }),
      )
    }),
  )
  return total
}
