import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { DealDevice } from '../deal.ts'
import { busiestOf, dealCosts } from './plain-deal.ts'

const device = (change: Partial<DealDevice> & { join: number }): DealDevice => ({
  device: `d${change.join}`,
  engine: 'wasm',
  memoryBudget: 1e6,
  mode: null,
  well: true,
  msPerLayer: 1,
  msStarter: 0,
  links: [],
  holds: [],
  ...change,
})
const costs = (layers: number) => ({
  layers: Array.from({ length: layers }, () => 100),
  starter: 50,
})

test('equal devices share equally, the oldest starts', () => {
  const dealt = dealCosts(costs(8), [device({ join: 2 }), device({ join: 1 })], null)
  expect(dealt).toMatchObject({
    kind: 'plan',
    stages: [
      { device: 'd1', from: 0, to: 4 },
      { device: 'd2', from: 4, to: 8 },
    ],
  })
})

test('twice as fast means twice as many layers', () => {
  const devices = [
    device({ join: 1, msPerLayer: 2 }),
    device({ join: 2, msPerLayer: 1 }),
    device({ join: 3, msPerLayer: 1 }),
  ]
  const dealt = dealCosts(costs(10), devices, null)
  const layers = dealt.kind === 'plan' ? dealt.stages.map((s) => s.to - s.from) : []
  expect(layers).toEqual([2, 4, 4])
})

test('a budget is never exceeded, and what is missing is told', () => {
  const small = [device({ join: 1, memoryBudget: 250 })]
  expect(dealCosts(costs(8), small, null)).toEqual({ kind: 'short', missingBytes: 600 })
  const two = [...small, device({ join: 2, memoryBudget: 600 })]
  expect(dealCosts(costs(8), two, null)).toMatchObject({
    kind: 'plan',
    stages: [
      { device: 'd1', from: 0, to: 2 },
      { device: 'd2', from: 2, to: 8 },
    ],
  })
})

test('a device that would only slow the others down gets nothing', () => {
  const dealt = dealCosts(
    costs(4),
    [device({ join: 1 }), device({ join: 2, msPerLayer: 50 })],
    null,
  )
  expect(dealt).toMatchObject({
    kind: 'plan',
    stages: [{ device: 'd1', from: 0, to: 4 }],
  })
})

test('the starter stays where it is while that costs nothing', () => {
  const dealt = dealCosts(costs(8), [device({ join: 1 }), device({ join: 2 })], 'd2')
  expect(dealt.kind === 'plan' && dealt.stages[0]?.device).toBe('d2')
})

/** All ways to deal, by brute force. */
function bestByHand(
  { layers, starter }: ReturnType<typeof costs>,
  devices: readonly DealDevice[],
): number {
  let best = Infinity
  for (const first of devices) {
    const order = [first, ...devices.filter((d) => d !== first)]
    const place = (i: number, from: number, busiest: number): void => {
      if (from === layers.length && i > 0) best = Math.min(best, busiest)
      const d = order[i]
      if (!d) return
      let bytes = i === 0 ? starter : 0
      for (let to = from; to <= layers.length; to += 1) {
        if (to > from) bytes += layers[to - 1]!
        if (bytes > d.memoryBudget) break
        const time =
          (to - from) * (d.msPerLayer ?? 1) + (i === 0 ? (d.msStarter ?? 0) : 0)
        place(i + 1, to, Math.max(busiest, time))
      }
    }
    place(0, 0, 0)
  }
  return best
}

test('no other deal has a less busy stage', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 50, max: 150 }), { minLength: 1, maxLength: 6 }),
      fc.array(
        fc.record({
          memoryBudget: fc.integer({ min: 0, max: 600 }),
          msPerLayer: fc.integer({ min: 1, max: 9 }),
          msStarter: fc.integer({ min: 0, max: 5 }),
        }),
        { minLength: 1, maxLength: 4 },
      ),
      (layers, given) => {
        const devices = given.map((some, i) => device({ ...some, join: i + 1 }))
        const all = { layers, starter: 50 }
        const best = bestByHand(all, devices)
        const dealt = dealCosts(all, devices, null)
        expect(dealt.kind).toBe(best === Infinity ? 'short' : 'plan')
        if (dealt.kind === 'short') {
          expect(dealt.missingBytes).toBeGreaterThan(0)
          return
        }
        expect(busiestOf(dealt.stages, devices)).toBeCloseTo(best)
        expect(dealt.stages.at(-1)?.to).toBe(layers.length)
        dealt.stages.forEach(({ from, to, device: id }, i) => {
          expect(from).toBe(dealt.stages[i - 1]?.to ?? 0)
          const bytes = layers.slice(from, to).reduce((a, b) => a + b, i === 0 ? 50 : 0)
          const budget = devices.find((d) => d.device === id)?.memoryBudget
          expect(bytes).toBeLessThanOrEqual(budget ?? -1)
        })
      },
    ),
    { seed: 4, numRuns: 300 },
  )
})
