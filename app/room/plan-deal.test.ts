import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parseManifest } from '../../model-split/manifest.ts'
import type { RingStage } from '../../workers/ring/types.ts'
import type { DealDevice, Load } from './deal.ts'
import { dealNamed } from './other-deals.ts'
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
  mode: 'lean',
  memoryBudget: 2e9,
  msPerLayer: 2,
  msStarter: 12,
  links: [],
  holds: [],
  well: true,
  ...change,
})

function stages(
  devices: DealDevice[],
  load: Load = 'lap',
): { device: string; layers: number }[] {
  const dealt = planDeal(manifest, devices, null, load)
  if (dealt.kind !== 'plan') throw new Error(`short by ${dealt.missingBytes}`)
  return dealt.stages.map(({ device: id, from, to }) => ({
    device: id,
    layers: to - from,
  }))
}

describe('the shipped model', () => {
  test('three equal phones share it, so that prompts flow', () => {
    const phones = [device(1), device(2), device(3)]
    expect(stages(phones).map(({ layers }) => layers)).toEqual([10, 10, 10])
    const fresh = { msPerLayer: null, msStarter: null }
    const unmeasured = phones.map((phone) => ({ ...phone, ...fresh }))
    expect(stages(unmeasured).map(({ layers }) => layers)).toEqual([10, 10, 10])
  })

  test('phones that are more than the layers need still give the starter some', () => {
    const phones = Array.from({ length: 7 }, (_, i) => device(i + 1))
    for (const { layers } of stages(phones)) expect(layers).toBeGreaterThan(0)
  })

  test('where memory is short, nobody measured yet deals as equal phones do', () => {
    const memoryBudget = Math.floor(0.4 * MODEL_BYTES)
    const phones = [1, 2, 3].map((join) => device(join, { memoryBudget }))
    const fresh = { msPerLayer: null, msStarter: null }
    const unmeasured = phones.map((phone) => ({ ...phone, ...fresh }))
    const guessed = phones.map((phone) => ({ ...phone, msPerLayer: 5, msStarter: null }))
    expect(stages(unmeasured)).toEqual(stages(guessed))
  })

  test('with several answers the starter, which has the head, takes fewer layers', () => {
    const [starter, ...others] = stages([device(1), device(2), device(3)], 'stage')
    expect(others).toHaveLength(2)
    for (const { layers } of others) expect(layers).toBeGreaterThan(starter?.layers ?? 30)
  })

  test('before anything is measured everyone takes part, however slow the links seem', () => {
    const links = [1, 2, 3].map((join) => ({
      device: `d${join}`,
      rttMs: 2000,
      bytesPerMs: null,
    }))
    const fresh = { msPerLayer: null, msStarter: null, links }
    expect(stages([1, 2, 3].map((join) => device(join, fresh)))).toHaveLength(3)
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
    const alone = planDeal(manifest, small.slice(0, 1), null, 'lap')
    expect(alone.kind).toBe('short')
    if (alone.kind === 'short')
      expect(alone.missingBytes).toBeGreaterThan(0.5 * MODEL_BYTES)
  })

  test('figures that wander a little move nothing', () => {
    const before = planDeal(manifest, [device(1), device(2)], null, 'lap')
    if (before.kind !== 'plan') throw new Error('short')
    const wandering = [device(1, { msPerLayer: 2.15 }), device(2, { msPerLayer: 1.9 })]
    const after = planDeal(manifest, wandering, before.stages, 'lap')
    expect(after).toMatchObject({ stages: before.stages })
  })

  test('everybody who is well takes part, each newcomer too', () => {
    let now: readonly RingStage[] | null = null
    for (let count = 1; count <= 7; count++) {
      const devices = Array.from({ length: count }, (_, i) => device(i + 1))
      const dealt = planDeal(manifest, devices, now, 'lap')
      if (dealt.kind !== 'plan') throw new Error('short')
      expect(dealt.stages).toHaveLength(count)
      expect(dealt.leftOut).toEqual([])
      now = dealt.stages
    }
  })

  test('who makes every token much slower is left out, and so is who is not well', () => {
    const far = ['d1', 'd2'].map((id) => ({ device: id, rttMs: 400, bytesPerMs: null }))
    const dealt = planDeal(
      manifest,
      [device(1), device(2), device(3, { links: far })],
      null,
      'lap',
    )
    const [leftOut, ...others] = dealt.kind === 'plan' ? dealt.leftOut : []
    expect(others).toEqual([])
    expect(leftOut?.device).toBe('d3')
    expect(leftOut?.why).toMatch(/^With it every token would take \d+ % longer/)
    const slow = [device(1), device(2), device(3, { msPerLayer: 12, well: false })]
    expect(planDeal(manifest, slow, null, 'lap')).toMatchObject({
      leftOut: [{ device: 'd3' }],
    })
  })

  test('for speed alone a slow phone is left out that else takes part', () => {
    const devices = [device(1), device(2), device(3, { msPerLayer: 8, msStarter: 48 })]
    const among = (name: string): number => {
      const dealt = dealNamed(name, planDeal)(manifest, devices, null, 'lap')
      if (dealt.kind !== 'plan') throw new Error('short')
      return dealt.stages.length
    }
    expect([among('planned'), among('fast')]).toEqual([3, 1])
  })

  test('neighbours hold the layers around their borders, within their memory', () => {
    const devices = [device(1), device(2), device(3)]
    const now = [
      { device: 'd1', from: 0, to: 8 },
      { device: 'd2', from: 8, to: 19 },
      { device: 'd3', from: 19, to: 30 },
    ]
    const ample = planDeal(manifest, devices, now, 'lap')
    const holds = ample.kind === 'plan' ? (ample.holds ?? []) : []
    // Each layer has one extra copy: whoever slows down can be relieved of all at once.
    const all = Array.from({ length: 30 }, (_, layer) => layer)
    expect(holds.flat().sort((a, b) => a - b)).toEqual(all)
    const whole = planDeal(manifest, devices.slice(0, 1), [{ ...now[0]!, to: 30 }], 'lap')
    expect(whole).toMatchObject({ holds: [[]] })
    // Both neighbours hold alike many layers of the one between them.
    const thirds = [0, 10, 20].map((from, i) => ({
      device: `d${i + 1}`,
      from,
      to: from + 10,
    }))
    const even = planDeal(manifest, devices, thirds, 'lap')
    expect(even.kind === 'plan' && even.holds?.map(({ length }) => length)).toEqual([
      5, 20, 5,
    ])
    // No more than twelve cross a border one way.
    const halves = [
      { device: 'd1', from: 0, to: 15 },
      { device: 'd2', from: 15, to: 30 },
    ]
    const two = planDeal(manifest, devices.slice(0, 2), halves, 'lap')
    expect(two.kind === 'plan' && two.holds?.map(({ length }) => length)).toEqual([
      12, 12,
    ])
    const tight = devices.map((one) => ({
      ...one,
      memoryBudget: Math.floor(0.45 * MODEL_BYTES),
      mode: 'packed' as const,
    }))
    const less = planDeal(manifest, tight, now, 'lap')
    const few = less.kind === 'plan' ? (less.holds ?? []).flat() : []
    expect(few.length).toBeLessThan(30)
  })

  test('to move what the taker holds already costs less', () => {
    const now = [
      { device: 'd1', from: 0, to: 14 },
      { device: 'd2', from: 14, to: 30 },
    ]
    const cost = (holds: number[]) => {
      const devices = [device(1, { msPerLayer: 6, msStarter: 36 }), device(2, { holds })]
      const dealt = planDeal(manifest, devices, now, 'lap')
      if (dealt.kind !== 'plan') throw new Error('short')
      expect(dealt.stages).not.toEqual(now)
      return dealt.moveMs
    }
    expect(cost([10, 11, 12, 13])).toBeLessThan(cost([]))
  })

  test('layers that do not fit beside what a phone runs stop answers, and cost more', () => {
    const now = [
      { device: 'd1', from: 0, to: 14 },
      { device: 'd2', from: 14, to: 30 },
    ]
    const move = (share: number) => {
      const lent = {
        memoryBudget: Math.ceil(share * MODEL_BYTES),
        mode: 'packed' as const,
      }
      const slow = device(1, { msPerLayer: 6, msStarter: 36, ...lent })
      const dealt = planDeal(manifest, [slow, device(2, lent)], now, 'lap')
      if (dealt.kind !== 'plan') throw new Error('short')
      expect(dealt.stages[0]?.device).toBe('d2')
      return dealt
    }
    expect(move(2).stops).toBe(false)
    expect(move(0.95).stops).toBe(true)
    expect(move(0.95).moveMs).toBeGreaterThan(3 * move(2).moveMs)
  })

  test('one answer prefers fast phones, several share the work', () => {
    const two = [device(1), device(2, { msPerLayer: 6, msStarter: 36 })]
    const layers = (load: 'lap' | 'stage') => {
      const dealt = planDeal(manifest, two, null, load)
      if (dealt.kind !== 'plan') throw new Error('short')
      const stage = dealt.stages.find(({ device: id }) => id === 'd2')
      return (stage?.to ?? 0) - (stage?.from ?? 0)
    }
    expect(layers('lap')).toBeGreaterThan(0)
    expect(layers('lap')).toBeLessThan(layers('stage'))
  })
})
