import fc from 'fast-check'
import { expect, it } from 'vitest'
import { costsOf } from './costs.ts'
import { evaluatePlan } from './evaluate.ts'
import { planLayers } from './plan.ts'
import { LEVEL_STEP } from './search.ts'
import { allFitting, randomCase } from './testing/rooms.ts'
import { WELCOME, WELCOME_MS } from './types.ts'

const LEVEL = 0.1

it('weighs who takes part, then levels the stages for prompts, like trying every plan', () => {
  const seen = { everybody: 0, some: 0 }
  fc.assert(
    fc.property(
      fc.nat(),
      fc.integer({ min: 2, max: 4 }),
      fc.integer({ min: 2, max: 6 }),
      fc.integer({ min: 0, max: 15 }),
      (seed, count, layers, chosen) => {
        const room = randomCase(seed, count, layers, { load: 'lap' })
        const { costs, devices, links, options } = room
        const welcome = devices.map(({ id }) => id).filter((_, i) => chosen & (1 << i))
        const found = planLayers(costs, devices, links, {
          ...options,
          welcome,
          level: LEVEL,
        })
        if (found.kind === 'short') return
        const all = allFitting(room)
        const fee = Math.max(
          WELCOME * Math.min(...all.map(({ lapMs }) => lapMs)),
          WELCOME_MS,
        )
        const valueOf = ({ lapMs, stages }: (typeof all)[number]) =>
          lapMs +
          fee * welcome.filter((id) => !stages.some(({ device }) => device === id)).length
        const limit = Math.min(...all.map(valueOf)) * (1 + LEVEL)
        const first = all.reduce((a, b) => (valueOf(b) < valueOf(a) ? b : a))
        const named = first.stages.map(({ device }) => device)
        const within = all.filter(
          (plan) =>
            valueOf(plan) <= limit * (1 - 1e-9) &&
            plan.stages.every(({ device }) => [...welcome, ...named].includes(device)),
        )
        expect(found.valueMs).toBeLessThanOrEqual(limit * (1 + 1e-9))
        // Embedding and head run once a prompt.
        const free = devices.map((device) => ({ ...device, msStarter: 0 }))
        const promptMs = ({ stages }: Pick<(typeof all)[number], 'stages'>) =>
          evaluatePlan(stages, costs, free, links, options)?.busiestMs ?? NaN
        const least = Math.min(...within.map(promptMs))
        expect(promptMs(found)).toBeLessThanOrEqual(least * LEVEL_STEP * (1 + 1e-9))
        seen[found.leftOut.length === 0 ? 'everybody' : 'some']++
      },
    ),
    { numRuns: 150 },
  )
  expect(Math.min(seen.everybody, seen.some)).toBeGreaterThan(20)
})

it('gives the starter layers where that costs nothing', () => {
  const figures = { lean: [1, 1, 1, 1], dense: [1, 1, 1, 1], packed: [1, 1, 1, 1] }
  const costs = costsOf({
    context: 100,
    layerBytes: figures,
    starterBytes: { lean: 1, dense: 1, packed: 1 },
    work: [1, 1, 1, 1],
    starterWork: 0.9,
    rowBytes: [1, 1, 1, 1],
    borderBytes: [1, 1, 1, 1, 1],
  })
  const welcome = ['a', 'b', 'c']
  const devices = welcome.map((id) => ({
    id,
    modes: [{ mode: 'lean' as const, msPerLayer: 5 }],
    memoryBudget: 1e6,
  }))
  const each = (value: number) => devices.map(() => devices.map(() => value))
  const found = planLayers(
    costs,
    devices,
    { rttMs: each(5), bytesPerMs: each(1000) },
    { load: 'lap', contextTokens: 8, sequences: 1, welcome, level: LEVEL },
  )
  if (found.kind === 'short') throw new Error('It fits.')
  const counts = found.stages.map(({ from, to }) => to - from)
  expect(counts.toSorted()).toEqual([1, 1, 2])
})
