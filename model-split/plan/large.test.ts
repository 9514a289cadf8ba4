import { describe, expect, it } from 'vitest'
import { solveExact } from './dp.ts'
import { covers } from './evaluate.ts'
import { lowerBound, solveBeam } from './large.ts'
import { planLayers } from './plan.ts'
import { bestRing } from './search.ts'
import { timeTables } from './tables.ts'
import { randomCase, valueOf } from './testing/rooms.ts'

const seeds = Array.from({ length: 40 }, (_, seed) => seed)

describe('large rooms', () => {
  it('are planned close to the best by the beam search', () => {
    for (const load of ['lap', 'stage'] as const) {
      let worst = 1
      let compared = 0
      for (const seed of seeds) {
        const { costs, devices, links, options } = randomCase(seed, 6, 10, { load })
        const tables = timeTables(costs, devices, links, options)
        const aim = { load, inFlight: 2 }
        const starters = devices.map((_, i) => i)
        const exact = bestRing(tables, aim, solveExact, { starters })
        const beam = bestRing(tables, aim, solveBeam, { starters })
        expect(beam === null).toBe(exact === null)
        if (!exact || !beam) continue
        compared++
        expect(beam.value).toBeGreaterThanOrEqual(exact.value)
        expect(lowerBound(tables, aim)).toBeLessThanOrEqual(exact.value)
        worst = Math.max(worst, beam.value / exact.value)
      }
      expect(compared).toBeGreaterThan(20)
      expect(worst).toBeLessThan(1.05)
    }
  })

  it('get a plan that fits, with the gap to the bound, the same each time', () => {
    for (const load of ['lap', 'stage'] as const)
      for (const seed of seeds.slice(0, 6)) {
        const room = randomCase(seed, 12, 30, { load, inFlight: 4 })
        const [costs, devices, links, options] = [
          room.costs,
          room.devices,
          room.links,
          room.options,
        ]
        const plan = planLayers(costs, devices, links, options)
        if (plan.kind === 'short') throw new Error('This room has enough memory.')
        expect(covers(plan.stages, 30)).toBe(true)
        expect(plan.gap).toBeGreaterThan(0)
        expect(plan.stages.length + plan.leftOut.length).toBe(12)
        expect(planLayers(costs, devices, links, options)).toEqual(plan)
        const some = { rttMs: links.rttMs, bytesPerMs: links.bytesPerMs }
        const eight = planLayers(costs, devices.slice(0, 8), some, options)
        if (eight.kind === 'short') continue
        // Four devices more may not make it worse by more than the beam loses.
        expect(valueOf(room, plan)).toBeLessThan(valueOf(room, eight) * 1.05)
      }
  })

  it('look at few enough states to be planned while people wait', () => {
    for (const load of ['lap', 'stage'] as const)
      for (const [count, most] of [
        [8, 20e6],
        [16, 20e6],
      ] as const)
        for (const seed of seeds.slice(0, 4)) {
          const { costs, devices, links, options } = randomCase(seed, count, 30, { load })
          const plan = planLayers(costs, devices, links, options)
          expect(plan.kind === 'plan' ? plan.effort : 0).toBeLessThan(most)
        }
  })
})
