import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parseManifest } from '../../model-split/manifest.ts'
import type { DealDevice } from './deal.ts'
import { planDeal } from './plan-deal.ts'

const manifest = parseManifest(
  JSON.parse(
    readFileSync('public/models/smollm2-135m-instruct/manifest.json', 'utf8'),
  ) as unknown,
)
const MODEL_BYTES = 110_137_472

const device = (join: number, change: Partial<DealDevice> = {}): DealDevice => ({
  device: `d${join}`,
  join,
  engine: 'wasm',
  memoryBudget: 2e9,
  msPerLayer: 2,
  msStarter: 12,
  links: [],
  ...change,
})

function stages(devices: DealDevice[]): { device: string; layers: number }[] {
  const dealt = planDeal(manifest, devices, null)
  if (dealt.kind !== 'plan') throw new Error(`short by ${dealt.missingBytes}`)
  return dealt.stages.map(({ device: id, from, to }) => ({
    device: id,
    layers: to - from,
  }))
}

describe('the shipped model', () => {
  test('three equal phones share it, and the starter takes fewer layers', () => {
    const [starter, ...others] = stages([device(1), device(2), device(3)])
    expect(others).toHaveLength(2)
    for (const { layers } of others) expect(layers).toBeGreaterThan(starter?.layers ?? 30)
  })

  test('a phone four times as slow takes fewer layers', () => {
    const dealt = stages([
      device(1),
      device(2, { msPerLayer: 8, msStarter: 48 }),
      device(3),
    ])
    const slow = dealt.find(({ device: id }) => id === 'd2')?.layers ?? 0
    for (const other of dealt.filter(({ device: id }) => id !== 'd2').slice(1))
      expect(other.layers).toBeGreaterThan(slow)
  })

  test('three budgets of 40 % of the model hold it together; one alone says what is missing', () => {
    const memoryBudget = Math.floor(0.4 * MODEL_BYTES)
    const small = [1, 2, 3].map((join) => device(join, { memoryBudget }))
    expect(stages(small)).toHaveLength(3)
    const alone = planDeal(manifest, small.slice(0, 1), null)
    expect(alone.kind).toBe('short')
    if (alone.kind === 'short')
      expect(alone.missingBytes).toBeGreaterThan(0.5 * MODEL_BYTES)
  })

  test('figures that wander a little move nothing', () => {
    const before = planDeal(manifest, [device(1), device(2)], null)
    if (before.kind !== 'plan') throw new Error('short')
    const wandering = [device(1, { msPerLayer: 2.15 }), device(2, { msPerLayer: 1.9 })]
    expect(planDeal(manifest, wandering, before.stages)).toEqual(before)
  })
})
