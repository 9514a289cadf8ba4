/** Small random rooms, and every plan that they could have. */
import { costsOf } from '../costs.ts'
import type { ModelCosts } from '../costs.ts'
import { evaluatePlan } from '../evaluate.ts'
import type { Evaluation } from '../evaluate.ts'
import type { PlanDevice, PlanLinks, PlanOptions, Stage } from '../types.ts'

/** A generator of numbers in [0, 1) that gives the same row for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

export interface Case {
  readonly costs: ModelCosts
  readonly devices: readonly PlanDevice[]
  readonly links: PlanLinks
  readonly options: PlanOptions
}

/** A room of `count` devices for a model of `layers` layers of uneven work and size. */
export function randomCase(
  seed: number,
  count: number,
  layers: number,
  options: Partial<PlanOptions> = {},
): Case {
  const random = seeded(seed)
  const between = (low: number, high: number) => low + (high - low) * random()
  const whole = (low: number, high: number) => Math.floor(between(low, high + 1))
  const packed = Array.from({ length: layers }, () => whole(5, 15))
  const costs = costsOf({
    context: 100,
    layerBytes: {
      packed,
      lean: packed.map((bytes) => 2 * bytes),
      dense: packed.map((bytes) => 6 * bytes),
    },
    starterBytes: { packed: 20, lean: 35, dense: 90 },
    work: packed.map(() => between(0.5, 1.5)),
    starterWork: between(0.5, 4),
    rowBytes: packed.map(() => 0.25),
    borderBytes: Array.from({ length: layers + 1 }, () => whole(1, 100)),
  })
  const total = packed.reduce((a, b) => a + b, 20)
  const devices = Array.from({ length: count }, (_, i) => {
    const ms = between(1, 10)
    const modes = [
      { mode: 'dense' as const, msPerLayer: ms },
      { mode: 'lean' as const, msPerLayer: ms * between(1, 3) },
      { mode: 'packed' as const, msPerLayer: ms * between(1, 9) },
    ].filter(() => random() < 0.7)
    if (modes.length === 0) modes.push({ mode: 'packed', msPerLayer: ms })
    return {
      id: `device ${String.fromCharCode(97 + i)}`,
      modes,
      memoryBudget: whole(0, total * 3),
      ...(random() < 0.5 ? { msStarter: between(0, 10) } : {}),
    }
  })
  const matrix = (value: () => number) => devices.map(() => devices.map(value))
  return {
    costs,
    devices,
    links: {
      rttMs: matrix(() => (random() < 0.05 ? Infinity : between(0, 20))),
      bytesPerMs: matrix(() => between(5, 500)),
    },
    options: { load: 'lap', contextTokens: 8, sequences: 2, ...options },
  }
}

/** Every way to run the layers on some of the devices, whether it fits or not. */
export function* allPlans(ids: readonly string[], layers: number): Generator<Stage[]> {
  function* after(stages: readonly Stage[], from: number): Generator<Stage[]> {
    if (from === layers) yield [...stages]
    for (const device of ids) {
      if (stages.some((stage) => stage.device === device)) continue
      const least = stages.length === 0 ? from : from + 1
      for (let to = least; to <= layers; to++)
        yield* after([...stages, { device, from, to }], to)
    }
  }
  yield* after([], 0)
}

/** All plans that fit, evaluated. */
export function allFitting({ costs, devices, links, options }: Case): Evaluation[] {
  const ids = devices.map(({ id }) => id)
  return [...allPlans(ids, costs.layers)].flatMap(
    (stages) => evaluatePlan(stages, costs, devices, links, options) ?? [],
  )
}

/** Ms between two tokens of the room, as the load of the case counts it. */
export function valueOf(
  { options }: Case,
  plan: { lapMs: number; busiestMs: number },
): number {
  if (options.load === 'lap') return plan.lapMs
  return Math.max(plan.busiestMs, plan.lapMs / (options.inFlight ?? options.sequences))
}
