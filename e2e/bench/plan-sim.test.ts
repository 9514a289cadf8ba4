import { describe, expect, it } from 'vitest'
import { evaluatePlan } from '../../model-split/plan/evaluate.ts'
import { seeded } from '../../model-split/plan/testing/rooms.ts'
import { playRoom, readCosts } from './plan-sim.ts'
import { drawRoom, equalSplit } from './sim-rooms.ts'

const costs = readCosts()

describe('the planner in simulated rooms', () => {
  for (const several of [false, true])
    it(`is never slower than an equal split, ${several ? 'several sequences' : 'one sequence'}`, () => {
      const ratios = Array.from({ length: 30 }, (_, seed) =>
        playRoom(costs, seed % 3 === 0 ? 'processors' : 'mixed', seed, several),
      ).map(({ ratio }) => ratio)
      expect(Math.min(...ratios)).toBeGreaterThanOrEqual(1)
    })
})

describe('the equal split', () => {
  const room = drawRoom(seeded(3), costs, 'mixed')
  const sizes = (lent: (i: number) => number) => {
    const devices = room.devices.map((device, i) => ({
      ...device,
      memoryBudget: device.memoryBudget * lent(i),
    }))
    const found = equalSplit(costs, { ...room, devices })
    if (!found) return null
    const { stages } = found
    expect(evaluatePlan(stages, costs, devices, room.links, room.reserve)).not.toBeNull()
    expect(stages.map(({ device }) => device)).toEqual(devices.map(({ id }) => id))
    return { layers: stages.map(({ from, to }) => to - from), moved: found.moved }
  }

  it('gives each phone as many layers as the next', () => {
    const { layers = [], moved } = sizes(() => 10) ?? {}
    expect(moved).toBe(0)
    expect(Math.max(...layers) - Math.min(...layers)).toBeLessThanOrEqual(1)
  })

  it('moves as few layers as memory asks for', () => {
    const whole = sizes(() => 10)?.layers ?? []
    const tight = sizes((i) => (i === 1 ? 0.3 : 10))
    expect(tight?.layers[1]).toBeLessThan(whole[1] ?? 0)
    expect(tight?.moved).toBe((whole[1] ?? 0) - (tight?.layers[1] ?? 0))
    expect(sizes(() => 0.01)).toBeNull()
  })
})
