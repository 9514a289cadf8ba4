import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { planLayers } from './plan.ts'
import { ringOf, simulateRing } from './simulate.ts'
import type { SimulatedRing } from './simulate.ts'
import { randomCase, seeded } from './testing/rooms.ts'

const ring: SimulatedRing = {
  stages: [
    { decodeMs: 4, prefillMs: 2 },
    { decodeMs: 6, prefillMs: 3 },
  ],
  links: [
    { latencyMs: 1, rowMs: 0.5 },
    { latencyMs: 2, rowMs: 0.25 },
  ],
  headMs: 3,
}
const lap = 4 + 1.5 + 6 + 2.25 + 3

describe('simulateRing', () => {
  it('takes one lap per token of one sequence', () => {
    const { tokensAt } = simulateRing(ring, [{ promptTokens: 1, newTokens: 4 }])
    const first = 2 + 1.5 + 3 + 2.25 + 3
    expect(tokensAt).toEqual([[first, first + lap, first + 2 * lap, first + 3 * lap]])
  })

  it('sends a prompt in chunks, one behind the other', () => {
    const sequence = [{ promptTokens: 20, newTokens: 1 }]
    // Chunks of 8, 8 and 4 rows: the second stage is the slower one and works without a pause.
    const { tokensAt } = simulateRing(ring, sequence, 8)
    expect(tokensAt).toEqual([[8 * 2 + 8 * 0.5 + 1 + 20 * 3 + 4 * 0.25 + 2 + 3]])
    const whole = simulateRing(ring, sequence, 20).tokensAt
    expect(whole).toEqual([[20 * (2 + 0.5 + 3 + 0.25) + 1 + 2 + 3]])
  })

  it('makes frames wait for a link that is busy', () => {
    const slow = { ...ring, links: [{ latencyMs: 1, rowMs: 50 }, ring.links[1]!] }
    const two = Array.from({ length: 2 }, () => ({ promptTokens: 1, newTokens: 30 }))
    const { tokensAt } = simulateRing(slow, two)
    expect(tokensAt[1]![0]! - tokensAt[0]![0]!).toBe(50)
    const tokens = tokensAt.flat().sort((a, b) => a - b)
    expect(tokens.slice(4).map((at, i) => at - tokens[i + 3]!)).toEqual(
      tokens.slice(4).map(() => 50),
    )
  })

  it('draws steps around their mean, for which a full ring waits', () => {
    const stage = { decodeMs: 20, spreadMs: 6, prefillMs: 20 }
    const link = { latencyMs: 0, rowMs: 0 }
    const drawn = { stages: [stage, stage], links: [link, link], headMs: 0 }
    const rate = (sequences: number, random?: () => number) =>
      simulateRing(
        drawn,
        Array.from({ length: sequences }, () => ({ promptTokens: 1, newTokens: 4000 })),
        32,
        random,
      ).steadyTokensPerSecond
    expect(rate(1, seeded(1)) / rate(1)).toBeCloseTo(1, 1)
    // The mean of the longer one of two normal times is 1/√π deviations above theirs.
    const waiting = 20 / (20 + 6 / Math.sqrt(Math.PI))
    expect(rate(2, seeded(1)) / rate(2)).toBeCloseTo(waiting, 1)
    expect(rate(2, seeded(1))).toBe(rate(2, seeded(1)))
    expect(rate(2)).toBeCloseTo(50)
  })

  it('works on one device', () => {
    const alone = { stages: [{ decodeMs: 4, prefillMs: 2 }], links: [], headMs: 3 }
    const { tokensAt, busy } = simulateRing(alone, [{ promptTokens: 3, newTokens: 3 }])
    expect(tokensAt).toEqual([[9, 16, 23]])
    expect(busy).toEqual([1])
  })

  it('gives nothing for nothing', () => {
    expect(simulateRing(ring, [])).toMatchObject({ tokensPerSecond: 0, tokensAt: [] })
    const none = simulateRing(ring, [{ promptTokens: 5, newTokens: 0 }])
    expect(none).toMatchObject({ tokensPerSecond: 0, tokensAt: [[]], busy: [0, 0] })
  })

  it('comes to the rate that the planner predicts', () => {
    let bound = { busiest: 0, lap: 0 }
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 6 }), (seed, inFlight) => {
        const room = randomCase(seed, 4, 8, { load: 'stage', inFlight })
        const plan = planLayers(room.costs, room.devices, room.links, room.options)
        if (plan.kind === 'short') return
        const times = ringOf(
          plan.stages,
          room.costs,
          room.devices,
          room.links,
          room.options,
        )
        const sequences = Array.from({ length: inFlight }, () => ({
          promptTokens: 1,
          newTokens: 200,
        }))
        const { steadyTokensPerSecond } = simulateRing(times!, sequences)
        const period = Math.max(plan.busiestMs, plan.lapMs / inFlight)
        if (plan.busiestMs > plan.lapMs / inFlight)
          bound = { ...bound, busiest: bound.busiest + 1 }
        else bound = { ...bound, lap: bound.lap + 1 }
        const share = (steadyTokensPerSecond * period) / 1000
        expect(share).toBeGreaterThan(0.97)
        expect(share).toBeLessThan(1.03)
      }),
      { numRuns: 150 },
    )
    expect(Math.min(bound.busiest, bound.lap)).toBeGreaterThan(10)
  })

  it('runs waiting tokens as one, and never slower than one by one', () => {
    const numbers = fc.double({ min: 1, max: 20, noNaN: true })
    const rings = fc.record({
      stageMs: fc.array(numbers, { minLength: 1, maxLength: 5 }),
      hopMs: fc.double({ min: 0, max: 10, noNaN: true }),
      headMs: fc.double({ min: 0, max: 10, noNaN: true }),
      count: fc.integer({ min: 1, max: 12 }),
      batchShare: fc.double({ min: 0.1, max: 0.9, noNaN: true }),
      staggerMs: fc.double({ min: 0, max: 10, noNaN: true }),
    })
    fc.assert(
      fc.property(rings, ({ stageMs, hopMs, headMs, count, batchShare, staggerMs }) => {
        const single: SimulatedRing = {
          stages: stageMs.map((ms) => ({ decodeMs: ms, prefillMs: ms })),
          links: stageMs.map(() => ({ latencyMs: hopMs, rowMs: 0 })),
          headMs,
        }
        const sequences = Array.from({ length: count }, (_, i) => ({
          startMs: i * staggerMs,
          promptTokens: 1,
          newTokens: 200,
        }))
        const rate = (ring: SimulatedRing) =>
          simulateRing(ring, sequences).steadyTokensPerSecond
        expect(rate({ ...single, batchShare })).toBeGreaterThan(0.99 * rate(single))
      }),
      { numRuns: 60 },
    )
    // Batches that are all in one place would leave one of the two stages idle.
    const equal = { decodeMs: 10, prefillMs: 10 }
    const link = { latencyMs: 0, rowMs: 0 }
    const two = { stages: [equal, equal], links: [link, link], headMs: 0 }
    const gain = (count: number): number => {
      const many = new Array(count).fill({ promptTokens: 1, newTokens: 500 })
      const [batched, single] = [{ ...two, batchShare: 0.5 }, two].map(
        (ring) => simulateRing(ring, many).steadyTokensPerSecond,
      )
      return batched! / single!
    }
    expect(gain(2)).toBeCloseTo(1, 2)
    expect(gain(4)).toBeCloseTo(2 / 1.5, 2)
    expect(gain(8)).toBeCloseTo(4 / 2.5, 2)
  })

  it('gives the same figures for the same input', () => {
    const sequences = Array.from({ length: 5 }, (_, i) => ({
      startMs: i % 2,
      promptTokens: 7 + i,
      newTokens: 20,
    }))
    expect(simulateRing(ring, sequences, 4)).toEqual(simulateRing(ring, sequences, 4))
  })
})
