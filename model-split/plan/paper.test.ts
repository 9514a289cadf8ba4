/**
 * The planner against LinguaLinked's first programme, solved as a mixed-integer programme.
 *
 * Module 0 is fixed to device 0 there; here it is the starter's own work. The paper's objective
 * adds the ping of every pair of devices, used or not: a constant that cannot change the
 * answer. It has no way back from the last device. So the planner is given links without
 * delay and a last border without bytes, and both are compared on the paper's objective.
 */
import loadHighs from 'highs'
import { describe, expect, it } from 'vitest'
import { costsOf } from './costs.ts'
import { paperObjective } from './evaluate.ts'
import type { PaperInstance } from './evaluate.ts'
import { planLayers } from './plan.ts'
import { seeded } from './testing/rooms.ts'

function randomInstance(seed: number): PaperInstance {
  const random = seeded(seed)
  const whole = (low: number, high: number) =>
    low + Math.floor(random() * (high - low + 1))
  const [devices, modules] = [whole(2, 4), whole(3, 7)]
  const row = <T>(n: number, value: (i: number) => T) =>
    Array.from({ length: n }, (_, i) => value(i))
  const sizes = row(modules, () => whole(5, 20))
  const total = sizes.reduce((a, b) => a + b, 0)
  return {
    flops: row(modules, () => whole(1, 40)),
    sizes,
    speeds: row(devices, () => [1, 2, 4, 5][whole(0, 3)]!),
    memory: row(devices, () => Math.floor(total * (0.2 + 0.5 * random()))),
    ping: row(devices, () => row(devices, () => whole(1, 30))),
    bandwidth: row(devices, () => row(devices, () => whole(1, 10))),
    traffic: row(modules, (a) => row(modules, (b) => (b === a + 1 ? whole(0, 60) : 0))),
  }
}

/** The programme in CPLEX LP format; products of assignments are linearised. */
function programme({
  flops,
  sizes,
  speeds,
  memory,
  ping,
  bandwidth,
  traffic,
}: PaperInstance) {
  const D = speeds.length
  const M = flops.length
  const each = <T>(n: number, value: (i: number) => T) =>
    Array.from({ length: n }, (_, i) => value(i))
  const terms: string[] = []
  const rules: string[] = ['x_0_0 = 1']
  const binaries: string[] = []
  const products: string[] = []
  let constant = 0
  for (let i = 0; i < D; i++) {
    for (let j = 0; j < M; j++) {
      binaries.push(`x_${i}_${j}`, `z_${i}_${j}`)
      terms.push(`${flops[j]! / speeds[i]!} x_${i}_${j}`)
      const next = j + 1 < M ? `x_${i}_${j + 1}` : null
      rules.push(`z_${i}_${j} - x_${i}_${j} <= 0`)
      rules.push(`z_${i}_${j} - x_${i}_${j} ${next ? `+ ${next}` : ''} >= 0`)
      if (next) rules.push(`z_${i}_${j} + ${next} <= 1`)
      for (let k = j + 1; k < M; k++) rules.push(`x_${i}_${k} + z_${i}_${j} <= 1`)
    }
    rules.push(
      `${each(M, (j) => `${sizes[j]!} x_${i}_${j}`).join(' + ')} <= ${memory[i]!}`,
    )
    for (let k = 0; k < D; k++) {
      if (i === k) continue
      constant += ping[i]![k]!
      for (let a = 0; a < M; a++)
        for (let b = 0; b < M; b++) {
          if (traffic[a]![b]! === 0) continue
          const y = `y_${i}_${k}_${a}_${b}`
          products.push(y)
          terms.push(`${traffic[a]![b]! / bandwidth[i]![k]!} ${y}`)
          rules.push(`${y} - x_${i}_${a} - x_${k}_${b} >= -1`)
        }
    }
  }
  for (let j = 0; j < M; j++)
    rules.push(`${each(D, (i) => `x_${i}_${j}`).join(' + ')} = 1`)
  const text = [
    'Minimize',
    ` obj: ${terms.join(' + ')}`,
    'Subject To',
    ...rules.map((rule, i) => ` c${i}: ${rule}`),
    'Bounds',
    ...products.map((y) => ` 0 <= ${y} <= 1`),
    'Binary',
    ` ${binaries.join(' ')}`,
    'End',
  ]
  return { text: text.join('\n'), constant }
}

/** Our plan as the device of each module, or null where the memory is short. */
function planned(instance: PaperInstance): number[] | null {
  const { flops, sizes, speeds, memory, bandwidth, traffic } = instance
  const [own, ...layerSizes] = sizes
  const [ownWork, ...work] = flops
  const costs = costsOf({
    context: 1,
    layerBytes: { packed: layerSizes, lean: layerSizes, dense: layerSizes },
    starterBytes: { packed: own!, lean: own!, dense: own! },
    work,
    starterWork: ownWork!,
    rowBytes: work.map(() => 0),
    borderBytes: [...work.map((_, layer) => traffic[layer]![layer + 1]!), 0],
  })
  const mean = work.reduce((a, b) => a + b, 0) / work.length
  const devices = speeds.map((speed, i) => ({
    id: String(i),
    modes: [{ mode: 'packed' as const, msPerLayer: mean / speed }],
    memoryBudget: memory[i]!,
  }))
  const links = { rttMs: speeds.map(() => speeds.map(() => 0)), bytesPerMs: bandwidth }
  const options = { load: 'lap', contextTokens: 0, sequences: 1, starter: '0' } as const
  const plan = planLayers(costs, devices, links, options)
  if (plan.kind === 'short') return null
  return [
    0,
    ...work.map((_, layer) =>
      Number(plan.stages.find(({ from, to }) => from <= layer && layer < to)!.device),
    ),
  ]
}

describe("LinguaLinked's assignment", () => {
  it('is never better than the plan, on 500 random instances', async () => {
    const highs = await loadHighs()
    let solved = 0
    for (let seed = 0; seed < 500; seed++) {
      const instance = randomInstance(seed)
      const { text, constant } = programme(instance)
      const answer = highs.solve(text, { output_flag: false, mip_rel_gap: 0 })
      const plan = planned(instance)
      expect([seed, answer.Status]).toEqual([seed, plan ? 'Optimal' : 'Infeasible'])
      if (!plan) continue
      solved++
      const ours = paperObjective(plan, instance)
      expect(
        Math.abs(ours - (answer.ObjectiveValue + constant)),
        `seed ${seed}`,
      ).toBeLessThan(1e-5)
    }
    expect(solved).toBeGreaterThan(250)
  }, 180_000)

  it('counts a ping for pairs that exchange nothing', () => {
    const instance = randomInstance(1)
    const alone = instance.flops.map(() => 0)
    const pings = instance.ping.flatMap((row, i) => row.filter((_, k) => k !== i))
    const compute = instance.flops.reduce(
      (sum, work) => sum + work / instance.speeds[0]!,
      0,
    )
    const sum = pings.reduce((a, b) => a + b, compute)
    expect(paperObjective(alone, instance)).toBeCloseTo(sum, 9)
  })

  it('sends residual tensors directly', () => {
    const instance: PaperInstance = {
      flops: [0, 0, 0],
      sizes: [1, 1, 1],
      speeds: [1, 1, 1],
      memory: [1, 1, 1],
      ping: [
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
      ],
      bandwidth: [
        [1, 2, 5],
        [1, 1, 4],
        [1, 1, 1],
      ],
      traffic: [
        [0, 6, 10],
        [0, 0, 8],
        [0, 0, 0],
      ],
    }
    expect(paperObjective([0, 1, 2], instance)).toBe(6 / 2 + 10 / 5 + 8 / 4)
    expect(paperObjective([0, 0, 1], instance)).toBe(10 / 2 + 8 / 2)
  })
})
