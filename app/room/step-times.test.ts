import { expect, test } from 'vitest'
import { foundRoom } from './membership.ts'
import { firstFacts } from './monitor.ts'
import { stepTimes, StepTimesTeller } from './step-times.ts'

const OPTIONS = { name: 'a', engine: 'wasm', memoryBudget: 0 } as const
const STAGES = [
  { device: 'a', from: 0, to: 4 },
  { device: 'b', from: 4, to: 10 },
]
const tells = (msPerLayer: number | null, other: string, msStarter: number | null) => ({
  msPerLayer,
  msStarter,
  links: [{ device: other, rttMs: 8, bytesPerMs: null }],
})

test('a step takes the work of all stages and half a round trip for each way', () => {
  const facts = new Map([
    ['a', tells(2, 'b', 5)],
    // Only who starts embeds and samples.
    ['b', tells(3, 'a', 7)],
  ])
  expect(stepTimes(STAGES, facts)).toEqual({ workMs: 31, busiestMs: 18, waysMs: 8 })
})

test('nothing is known before all have told, nor where nothing serves', () => {
  expect(stepTimes(STAGES, new Map([['a', tells(2, 'b', 5)]]))).toBeNull()
  const facts = new Map([
    ['a', tells(2, 'b', 5)],
    ['b', tells(null, 'a', null)],
  ])
  expect(stepTimes(STAGES, facts)).toBeNull()
  expect(stepTimes([], facts)).toBeNull()
})

test('a stage is told times when they change', () => {
  const told: (number | null)[] = []
  const alone = {
    epoch: { term: 0, number: 1 },
    stages: [{ device: 'a', from: 0, to: 10 }],
  }
  const state = { ...foundRoom('a', 'a', '/models/m/', 1), active: null }
  const facts = new Map([['a', { ...firstFacts(OPTIONS), ...tells(2, 'a', 0) }]])
  const replica = { state, facts }
  const teller = new StepTimesTeller(replica, {
    setStepTimes: (times) => {
      told.push(times?.workMs ?? null)
      return Promise.resolve()
    },
  })
  for (const active of [null, alone, alone, null]) {
    Object.assign(replica, { state: { ...state, active } })
    teller.tell()
  }
  expect(told).toEqual([20, null])
})
