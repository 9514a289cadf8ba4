/**
 * What the planner gains over an equal split, in a hundred simulated rooms.
 *
 * Rooms are like those of LinguaLinked (arXiv 2312.00388), which ran on fast and slow Android
 * phones with no phone able to hold more than half of the model:
 * - three or four phones, equally often: one flagship, one middle, one low-end phone, with
 *   speeds 1 : 0.5 : 0.25, each off by up to 20 %, and in rooms of four one more of any kind.
 *   They arrive in any order.
 * - the flagship lends half of the model's bytes, the middle one 40 to 50 %, the low-end one
 *   30 to 45 %, caches included; a starter needs embedding and head within that, too.
 * - Wi-Fi: round trips of 4 to 15 ms; in every third room one phone is far from the access
 *   point, and its links take 20 to 40 ms more. 2 to 10 MB/s.
 * - the model is the default one as it was cut, kept as exported; a flagship needs 1.5 ms for
 *   a layer. Embedding and head are estimated by their work.
 *
 * The planner is exact for such rooms: no other plan for the same memory gains more. For
 * comparison the report also says what the rooms would give without memory limits, and what
 * rooms of two or three flagships and one low-end phone give, the phones of the paper's own
 * experiments.
 *
 * The other side is an equal split in order of arrival: the first phone starts, everyone has
 * as many layers as the next. Where that does not fit, as few layers as possible are moved,
 * and the row says in how many rooms. Rooms where no split in order of arrival fits are drawn
 * anew. Both sides run in the same simulated ring.
 *
 * Run: npx tsx e2e/bench/plan-sim.ts
 */
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { parseManifest } from '../../model-split/manifest.ts'
import { modelCosts } from '../../model-split/plan/costs.ts'
import type { ModelCosts } from '../../model-split/plan/costs.ts'
import { evaluatePlan } from '../../model-split/plan/evaluate.ts'
import { cacheBytes } from '../../model-split/plan/memory.ts'
import { planLayers } from '../../model-split/plan/plan.ts'
import { ringOf, simulateRing } from '../../model-split/plan/simulate.ts'
import type {
  PlanDevice,
  PlanLinks,
  PlanOptions,
  Stage,
} from '../../model-split/plan/types.ts'
import { seeded } from '../../model-split/plan/testing/rooms.ts'

/** One line of a report. `ratio` above 1: better than `against`. */
export interface Row {
  readonly id: string
  readonly value: number
  readonly unit: string
  readonly against: string
  readonly ratio: number
  readonly rounds: number
}

const ROOMS = 100
const FLAGSHIP_MS = 1.5
const TOKENS = 200
const CONTEXT = 512
const KINDS = [
  { speed: 1, lends: [0.5, 0.5] },
  { speed: 0.5, lends: [0.4, 0.5] },
  { speed: 0.25, lends: [0.3, 0.45] },
] as const

interface Room {
  readonly devices: readonly PlanDevice[]
  readonly links: PlanLinks
}

type Family = 'one of each' | 'flagships and one low-end'

function drawKinds(random: () => number, family: Family): (typeof KINDS)[number][] {
  const [flagship, , low] = KINDS
  const four = random() >= 0.5
  if (family === 'flagships and one low-end')
    return [flagship, flagship, low, ...(four ? [flagship] : [])]
  const any = KINDS[Math.floor(random() * KINDS.length)] ?? flagship
  return [...KINDS, ...(four ? [any] : [])]
}

function drawRoom(
  random: () => number,
  costs: ModelCosts,
  family: Family,
  sequences: number,
): Room {
  const between = (low: number, high: number) => low + (high - low) * random()
  const arrivals = drawKinds(random, family)
    .map((kind) => ({ kind, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ kind }) => kind)
  const caches = cacheBytes(costs, 0, costs.layers, { contextTokens: CONTEXT, sequences })
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
  return { devices, links: { rttMs, bytesPerMs } }
}

/**
 * The split in order of arrival nearest to an equal one, by layers moved; null if none fits.
 */
function equalSplit(
  costs: ModelCosts,
  { devices, links }: Room,
  reserve: Pick<PlanOptions, 'contextTokens' | 'sequences'>,
): { stages: readonly Stage[]; repaired: boolean } | null {
  const { layers } = costs
  const equal = devices.map(
    (_, i) => Math.floor(layers / devices.length) + (i < layers % devices.length ? 1 : 0),
  )
  let best: { stages: readonly Stage[]; moved: number } | null = null
  const visit = (stages: readonly Stage[], from: number, off: number): void => {
    if (best && off / 2 >= best.moved) return
    const device = devices[stages.length]
    if (!device) {
      if (from === layers && evaluatePlan(stages, costs, devices, links, reserve))
        best = { stages, moved: off / 2 }
      return
    }
    const least = stages.length === 0 ? 0 : 1
    for (let n = least; from + n <= layers; n++) {
      const stage = { device: device.id, from, to: from + n }
      visit([...stages, stage], from + n, off + Math.abs(n - (equal[stages.length] ?? 0)))
    }
  }
  visit([], 0, 0)
  const found = best as { stages: readonly Stage[]; moved: number } | null
  return found && { stages: found.stages, repaired: found.moved > 0 }
}

interface Outcome {
  readonly ratio: number
  /** The same if the plan, not the equal split, had all memory that it wants. */
  readonly unlimited: number
  readonly tokensPerSecond: number
  readonly repaired: boolean
  readonly devices: number
  readonly stages: number
  /** Share of a lap that is spent on links. */
  readonly linkShare: number
}

function playRoom(
  costs: ModelCosts,
  family: Family,
  seed: number,
  several: boolean,
): Outcome {
  const random = seeded(seed)
  for (;;) {
    // Memory is for as many caches in both cases, so that both play the same rooms.
    const room = drawRoom(random, costs, family, 4)
    const { devices, links } = room
    const reserve = { contextTokens: CONTEXT, sequences: 4 }
    const equal = equalSplit(costs, room, reserve)
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
      repaired: equal.repaired,
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

function readCosts(): ModelCosts {
  const path = '../../public/models/smollm2-135m-instruct/manifest.json'
  const text = readFileSync(new URL(path, import.meta.url), 'utf8')
  return modelCosts(parseManifest(JSON.parse(text)))
}

/** Plays all rooms; tells `log` what binds. Takes seconds and always gives the same. */
export function runPlanSim(log: (line: string) => void = () => undefined): Row[] {
  const costs = readCosts()
  const play = (family: Family, several: boolean) =>
    Array.from({ length: ROOMS }, (_, seed) => playRoom(costs, family, seed, several))
  return [false, true].map((several) => {
    const id = several ? 'plan.sim.nseq' : 'plan.sim'
    const outcomes = play('one of each', several)
    const { median, repaired } = report(id, outcomes, log)
    report(
      `${id} (flagships and one low-end)`,
      play('flagships and one low-end', several),
      log,
    )
    return {
      id,
      value: quantile(
        outcomes.map(({ tokensPerSecond }) => tokensPerSecond),
        0.5,
      ),
      unit: 'tok/s',
      against: `equal split in order of arrival, repaired to fit memory in ${repaired} of ${ROOMS} rooms`,
      ratio: median,
      rounds: ROOMS,
    }
  })
}

function report(
  title: string,
  outcomes: readonly Outcome[],
  log: (line: string) => void,
): { median: number; repaired: number } {
  const show = (
    some: readonly Outcome[],
    value: (outcome: Outcome) => number,
    q: number,
  ) => quantile(some.map(value), q).toFixed(2)
  const ratio = (outcome: Outcome) => outcome.ratio
  const repaired = outcomes.filter((outcome) => outcome.repaired).length
  const idle = outcomes.filter(({ devices, stages }) => stages < devices).length
  const sizes = [3, 4].map((count) => {
    const some = outcomes.filter(({ devices }) => devices === count)
    return `${show(some, ratio, 0.5)} in ${some.length} rooms of ${count}`
  })
  log(
    `${title}: median ${show(outcomes, ratio, 0.5)}, 10th percentile ` +
      `${show(outcomes, ratio, 0.1)}, worst ${show(outcomes, ratio, 0)} times the equal split`,
  )
  log(`  median ${sizes.join(', ')}`)
  log(
    `  with all the memory it wants, median ${show(outcomes, (o) => o.unlimited, 0.5)}; links ` +
      `take ${Math.round(
        100 *
          quantile(
            outcomes.map((o) => o.linkShare),
            0.5,
          ),
      )} % of the plan's lap (median)`,
  )
  log(
    `  equal split repaired in ${repaired} rooms; the plan leaves phones out in ${idle}`,
  )
  return { median: quantile(outcomes.map(ratio), 0.5), repaired }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  console.log(runPlanSim(console.log))
