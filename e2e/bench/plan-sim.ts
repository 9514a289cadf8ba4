/**
 * What the planner gains over an equal split, in a hundred simulated rooms of each family; see
 * sim-rooms.ts for how rooms are drawn. The rows are of the `mixed` ones, the others are told for
 * comparison.
 *
 * The model is the default one as it was cut, kept as exported. The planner is exact for such
 * rooms: no other plan for the same memory gains more. The report also says what the rooms would
 * give without memory limits. Rooms where no split in order of arrival fits are drawn anew. Both
 * sides run in the same simulated ring.
 *
 * Run: npx tsx e2e/bench/plan-sim.ts
 */
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { parseManifest } from '../../model-split/manifest.ts'
import { modelCosts } from '../../model-split/plan/costs.ts'
import type { ModelCosts } from '../../model-split/plan/costs.ts'
import { evaluatePlan } from '../../model-split/plan/evaluate.ts'
import { planLayers } from '../../model-split/plan/plan.ts'
import { ringOf, simulateRing } from '../../model-split/plan/simulate.ts'
import type { PlanDevice, Stage } from '../../model-split/plan/types.ts'
import { seeded } from '../../model-split/plan/testing/rooms.ts'
import { drawRoom, equalSplit, FAMILIES, type Family } from './sim-rooms.ts'

/** One line of a report. `ratio` above 1: better than `against`. */
export interface Row {
  readonly id: string
  readonly value: number
  readonly unit: string
  readonly against: string
  readonly ratio: number
  readonly rounds: number
  /** What was measured in each round, where `ratio` is that of the medians. */
  readonly samples?: {
    readonly ours: readonly number[]
    readonly theirs: readonly number[]
  }
}

const ROOMS = 100
const TOKENS = 200

export interface Outcome {
  /** Of the plan's speed to the equal split's. */
  readonly ratio: number
  /** The same if the plan, not the equal split, had all memory that it wants. */
  readonly unlimited: number
  readonly tokensPerSecond: number
  /** Layers of the equal split that had to move for want of memory. */
  readonly repaired: number
  readonly devices: number
  readonly stages: number
  /** Share of a lap that is spent on links. */
  readonly linkShare: number
}

/** @param several as many sequences as phones at the same time, not one. */
export function playRoom(
  costs: ModelCosts,
  family: Family,
  seed: number,
  several: boolean,
): Outcome {
  const random = seeded(seed)
  for (;;) {
    const room = drawRoom(random, costs, family)
    const { devices, links, reserve } = room
    const equal = equalSplit(costs, room)
    if (!equal) continue
    const inFlight = several ? devices.length : 1
    const load = several ? 'stage' : 'lap'
    const planFor = (some: readonly PlanDevice[]) => {
      const plan = planLayers(costs, some, links, { ...reserve, load, inFlight })
      if (plan.kind === 'short')
        throw new Error('A room that an equal split fits is short.')
      return plan
    }
    const rate = (stages: readonly Stage[], some = devices): number => {
      const ring = ringOf(stages, costs, some, links, reserve)
      if (!ring) throw new Error('A plan that does not fit cannot be simulated.')
      const sequence = { promptTokens: 1, newTokens: TOKENS }
      return simulateRing(ring, new Array<typeof sequence>(inFlight).fill(sequence))
        .steadyTokensPerSecond
    }
    const plan = planFor(devices)
    const [ours, theirs] = [rate(plan.stages), rate(equal.stages)]
    const ample = devices.map((device) => ({ ...device, memoryBudget: 1e12 }))
    const work = evaluatePlan(plan.stages, costs, devices, links, reserve)
    const computing = (work?.stageMs ?? []).reduce((a, b) => a + b, 0)
    return {
      ratio: ours / theirs,
      unlimited: rate(planFor(ample).stages, ample) / theirs,
      tokensPerSecond: ours,
      repaired: equal.moved,
      devices: devices.length,
      stages: plan.stages.length,
      linkShare: 1 - computing / plan.lapMs,
    }
  }
}

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = q * (sorted.length - 1)
  const [low, high] = [sorted[Math.floor(at)] ?? NaN, sorted[Math.ceil(at)] ?? NaN]
  return low + (high - low) * (at - Math.floor(at))
}

export function readCosts(): ModelCosts {
  const path = '../../public/models/smollm2-135m-instruct/manifest.json'
  const text = readFileSync(new URL(path, import.meta.url), 'utf8')
  return modelCosts(parseManifest(JSON.parse(text)))
}

/** Plays all rooms; tells `log` what binds. Takes a minute and always gives the same. */
export function runPlanSim(log: (line: string) => void = () => undefined): Row[] {
  const costs = readCosts()
  return [false, true].map((several) => {
    const id = several ? 'plan.sim.nseq' : 'plan.sim'
    const [mixed = []] = FAMILIES.map((family) => {
      const outcomes = Array.from({ length: ROOMS }, (_, seed) =>
        playRoom(costs, family, seed, several),
      )
      report(`${id} (${family})`, outcomes, log)
      return outcomes
    })
    const ratios = mixed.map(({ ratio }) => ratio)
    const low = `10th percentile ${quantile(ratios, 0.1).toFixed(2)}, worst ${quantile(ratios, 0).toFixed(2)}`
    const speeds = mixed.map(({ tokensPerSecond }) => tokensPerSecond)
    return {
      id,
      value: quantile(speeds, 0.5),
      unit: 'tok/s',
      against: `equal split in order of arrival; ${low}`,
      ratio: quantile(ratios, 0.5),
      rounds: ROOMS,
    }
  })
}

function report(
  title: string,
  outcomes: readonly Outcome[],
  log: (line: string) => void,
): void {
  const show = (
    some: readonly Outcome[],
    value: (outcome: Outcome) => number,
    q: number,
  ) => quantile(some.map(value), q).toFixed(2)
  const ratio = (outcome: Outcome) => outcome.ratio
  const repaired = outcomes.filter((outcome) => outcome.repaired > 0).length
  const idle = outcomes.filter(({ devices, stages }) => stages < devices).length
  const counts = [...new Set(outcomes.map(({ devices }) => devices))].sort()
  const sizes = counts.map((count) => {
    const some = outcomes.filter(({ devices }) => devices === count)
    return `${show(some, ratio, 0.5)} in ${some.length} rooms of ${count}`
  })
  const linked = quantile(
    outcomes.map((outcome) => outcome.linkShare),
    0.5,
  )
  log(
    `${title}: median ${show(outcomes, ratio, 0.5)}, 10th percentile ` +
      `${show(outcomes, ratio, 0.1)}, worst ${show(outcomes, ratio, 0)} times the equal split`,
  )
  log(`  median ${sizes.join(', ')}`)
  log(
    `  with all the memory it wants, median ${show(outcomes, (o) => o.unlimited, 0.5)}; links ` +
      `take ${Math.round(100 * linked)} % of the plan's lap (median)`,
  )
  log(
    `  equal split repaired in ${repaired} rooms; the plan leaves phones out in ${idle}`,
  )
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  console.log(runPlanSim(console.log))
