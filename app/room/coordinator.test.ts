import { describe, expect, test } from 'vitest'
import {
  CHECK_MS,
  CONFIRM_MS,
  COOLDOWN_MS,
  SETTLE_MS,
} from '../../model-split/plan/rebalance.ts'
import {
  NO_MEMORY,
  nextAction,
  STALL_MS,
  type Situation,
  ALONE_MS,
  EXPECT_MS,
  GATHER_MS,
} from './coordinator.ts'
import { JOIN_QUIET_MS } from './improve.ts'
import type { Deal } from './deal.ts'
import { QUIET_MS } from './overlap.ts'
import { dealLayers } from './testing/plain-deal.ts'
import { fold, foundRoom, type RoomEvent, type RoomState } from './membership.ts'
import type { Facts } from './protocol.ts'
import { fakeManifest } from './testing/fake-workers.ts'

const manifest = fakeManifest(8)
const facts = (change: Partial<Facts> = {}): Facts => ({
  name: 'P',
  engine: 'wasm',
  memoryBudget: 1e9,
  memoryUsed: 0,
  memoryProbed: null,
  mode: null,
  msPerLayer: 2,
  msPerLayerPrefill: null,
  msStarter: 0,
  slowdown: 1,
  lap: null,
  holds: [],
  links: ['a', 'b', 'c'].map((device) => ({ device, rttMs: 1, bytesPerMs: null })),
  state: { kind: 'idle' },
  prepared: null,
  running: 0,
  battery: null,
  visible: true,
  ...change,
})

/** A room of `a`, led on by hand. */
class Desk {
  state: RoomState = foundRoom('a', 'i', '/m/', 1)
  now = 0
  expected: number | null = 0
  deal: Deal = dealLayers
  memory = NO_MEMORY
  facts = new Map<string, Facts>([['a', facts()]])
  linked = new Map([['a', 'i']])
  lost = new Set<string>()
  heard = new Map<string, number>()

  step(): RoomEvent | null {
    const situation: Situation = {
      state: this.state,
      facts: this.facts,
      heard: this.heard,
      linked: this.linked,
      lost: this.lost,
      manifest,
      deal: this.deal,
      expected: this.expected,
      now: this.now,
      today: 0,
      salt: 9,
    }
    const { event, memory } = nextAction(situation, this.memory)
    this.memory = memory
    if (event) this.state = fold(this.state, event)
    return event
  }

  tell(device: string, change: Partial<Facts>): void {
    this.facts.set(device, facts({ ...this.facts.get(device), ...change }))
    this.heard.set(device, this.now)
  }

  /** All stages of the plan report that they are ready. */
  prepare(): void {
    const { next } = this.state
    for (const { device } of next?.stages ?? [])
      this.tell(device, { prepared: { epoch: next!.epoch, result: 'ready' } })
  }

  /** Until there is nothing to do. */
  run(): RoomEvent['kind'][] {
    const kinds: RoomEvent['kind'][] = []
    for (let event = this.step(); event; event = this.step()) {
      kinds.push(event.kind)
      if (event.kind === 'plan') this.prepare()
    }
    return kinds
  }

  add(device: string): void {
    this.linked.set(device, 'i')
    this.tell(device, {})
  }
}

test('a plan is activated only when every stage is ready', () => {
  const desk = new Desk()
  desk.add('b')
  expect(desk.step()).toMatchObject({ kind: 'join', device: 'b' })
  expect(desk.step()).toMatchObject({ kind: 'plan' })
  const { epoch } = desk.state.next!
  desk.tell('a', { prepared: { epoch, result: 'ready' } })
  expect(desk.step()).toBeNull()
  desk.tell('b', { prepared: { epoch: { term: 1, number: 1 }, result: 'ready' } })
  expect(desk.step()).toBeNull()
  desk.tell('b', { prepared: { epoch, result: 'ready' } })
  expect(desk.step()).toMatchObject({ kind: 'activate', epoch })
})

test('who joins is dealt in after a quiet moment, whatever runs', () => {
  const desk = new Desk()
  desk.run()
  desk.add('b')
  desk.tell('a', { running: 1 })
  expect(desk.run()).toEqual(['join'])
  desk.now += JOIN_QUIET_MS - 1
  expect(desk.run()).toEqual([])
  desk.add('c')
  expect(desk.run()).toEqual(['join'])
  desk.now += JOIN_QUIET_MS - 1
  expect(desk.run()).toEqual([])
  desk.now += 1
  expect(desk.run()).toEqual(['plan', 'activate'])
  expect(desk.state.active?.stages).toHaveLength(3)
})

test('it waits for a deal that takes a while, and nothing is forgotten', () => {
  const desk = new Desk()
  const known = Promise.resolve()
  desk.deal = () => ({ kind: 'thinking', known })
  desk.add('b')
  expect(desk.run()).toEqual(['join'])
  desk.deal = dealLayers
  expect(desk.step()).toMatchObject({ kind: 'plan' })
  desk.prepare()
  desk.deal = () => ({ kind: 'thinking', known })
  expect(desk.step()).toMatchObject({ kind: 'activate' })
  desk.add('c')
  expect(desk.run()).toEqual(['join'])
  desk.deal = dealLayers
  expect(desk.run()).toEqual([])
  desk.now += JOIN_QUIET_MS
  expect(desk.run()).toEqual(['plan', 'activate'])
})

test('who leaves is dealt out at once, whatever runs', () => {
  const desk = new Desk()
  desk.add('b')
  desk.run()
  const { term } = desk.state
  desk.tell('a', { running: 1 })
  desk.linked.delete('b')
  expect(desk.run()).toEqual(['leave', 'plan', 'activate'])
  expect(desk.state.term).toBe(term)
  expect(desk.state.active?.stages).toEqual([{ device: 'a', from: 0, to: 8 }])
})

test('who is lost without a goodbye begins a new term, and the plan gets an epoch of it', () => {
  const desk = new Desk()
  desk.add('b')
  desk.run()
  const { term } = desk.state
  desk.linked.delete('b')
  desk.lost.add('b')
  desk.run()
  expect(desk.state.term).toBeGreaterThan(term)
  expect(desk.state.active?.epoch.term).toBe(desk.state.term)
})

test('small gains move no layers, lasting large ones do, and not all the time', () => {
  const desk = new Desk()
  desk.add('b')
  desk.run()
  desk.now += SETTLE_MS
  desk.tell('b', { msPerLayer: 2.2 })
  expect(desk.run()).toEqual([])
  desk.now += CONFIRM_MS
  expect(desk.run()).toEqual([])
  desk.tell('b', { msPerLayer: 6, slowdown: 3 })
  expect(desk.run()).toEqual([])
  desk.now += CONFIRM_MS
  expect(desk.run()).toEqual(['plan', 'activate'])
  expect(desk.state.notes.at(-1)?.text).toBe(
    'Moved layers 5–6 from P 2 to P: P 2 slowed down 3 times.',
  )
  desk.now += SETTLE_MS
  desk.tell('b', { msPerLayer: 1, slowdown: 1, running: 1 })
  desk.run()
  desk.now += CHECK_MS
  desk.run()
  desk.now += CONFIRM_MS
  expect(desk.run()).toEqual([])
  desk.now += COOLDOWN_MS
  expect(desk.run()).toEqual(['plan', 'activate'])
})

/** A room of two in which `b` slowed down and gave layers to `a`. */
function afterMove(): Desk {
  const desk = new Desk()
  desk.add('b')
  desk.run()
  desk.now += SETTLE_MS
  desk.tell('b', { msPerLayer: 6, slowdown: 3, running: 1 })
  desk.run()
  desk.now += CONFIRM_MS
  expect(desk.run()).toEqual(['plan', 'activate'])
  desk.now += SETTLE_MS
  return desk
}

test('a move after which tokens do not come sooner is taken back', () => {
  const desk = afterMove()
  const before = desk.state.active?.stages
  desk.tell('a', { msPerLayer: 7 })
  desk.run()
  desk.now += CHECK_MS
  expect(desk.run()).toEqual(['plan', 'activate'])
  expect(desk.state.active?.stages).not.toEqual(before)
  expect(desk.state.active?.stages[0]).toMatchObject({ from: 0, to: 4 })
  expect(desk.state.notes.at(-1)?.text).toMatch(/: tokens had not come sooner\.$/)
})

test('a plan whose devices turn out slow while they prepare it gives way to the one before', () => {
  const desk = new Desk()
  desk.add('b')
  desk.run()
  desk.now += SETTLE_MS
  desk.tell('b', { msPerLayer: 6 })
  desk.run()
  desk.now += CONFIRM_MS
  expect(desk.step()).toMatchObject({ kind: 'plan' })
  desk.prepare()
  desk.tell('b', { msPerLayer: 2 })
  const { stages, epoch } = desk.state.active!
  expect(desk.step()).toMatchObject({ kind: 'plan', stages })
  // A new one: who gave its layers up for the other has to serve them again, and all to know.
  expect(desk.state.next?.epoch.number).toBe(epoch.number + 2)
  desk.prepare()
  expect(desk.run()).toEqual(['activate'])
  expect(desk.state.active?.stages).toEqual(stages)
  expect(desk.state.notes).toHaveLength(1)
})

test('a failure is benched with its reason; saying otherwise brings the device back', () => {
  const desk = new Desk()
  desk.add('b')
  desk.step()
  desk.step()
  const { epoch } = desk.state.next!
  desk.tell('b', {
    prepared: { epoch, result: 'failed' },
    state: { kind: 'failed', message: 'Full.' },
  })
  expect(desk.run()).toEqual(['bench', 'plan', 'activate'])
  expect(desk.state.benched).toEqual([{ device: 'b', reason: 'Full.' }])
  desk.tell('b', { prepared: null, state: { kind: 'idle' } })
  desk.now += JOIN_QUIET_MS
  expect(desk.run()).toEqual(['unbench'])
  desk.now += JOIN_QUIET_MS
  expect(desk.run()).toEqual(['plan', 'activate'])
})

test('a device that makes no progress is benched', () => {
  const desk = new Desk()
  desk.add('b')
  desk.step()
  desk.step()
  desk.tell('a', { prepared: { epoch: desk.state.next!.epoch, result: 'ready' } })
  desk.now += STALL_MS
  expect(desk.step()).toBeNull()
  desk.now += 1
  expect(desk.step()).toMatchObject({ kind: 'bench', device: 'b' })
})

test('too little memory is told once, in bytes, and again when it changes', () => {
  const desk = new Desk()
  desk.tell('a', { memoryBudget: 5000 })
  const missing = desk.step()
  expect(missing).toMatchObject({ kind: 'short' })
  expect(desk.step()).toBeNull()
  desk.add('b')
  desk.run()
  expect(desk.state.missingBytes).toBeNull()
  expect(desk.state.active?.stages).toHaveLength(2)
})

test('a budget lowered below what is held moves layers', () => {
  const desk = new Desk()
  desk.add('b')
  desk.run()
  desk.now += JOIN_QUIET_MS
  desk.tell('b', { memoryUsed: 4000, memoryBudget: 2400 })
  expect(desk.run().slice(0, 1)).toEqual(['plan'])
  const stage = desk.state.active?.stages.find(({ device }) => device === 'b')
  expect(stage!.to - stage!.from).toBe(2)
})

describe('overlap layers', () => {
  /** A room of two that has just begun to serve. */
  function served(): Desk {
    const desk = new Desk()
    desk.deal = (...asked) => {
      const dealt = dealLayers(...asked)
      const [, , now] = asked
      return dealt.kind === 'plan' && now ? { ...dealt, holds: [[4], [3]] } : dealt
    }
    desk.add('b')
    desk.run()
    return desk
  }
  const held = (desk: Desk) => desk.state.active?.stages.map(({ hold }) => hold)

  test('are dealt once nobody has asked for a while, under the same epoch', () => {
    const desk = served()
    const epoch = desk.state.active?.epoch
    desk.tell('b', { running: 1 })
    desk.now += 2 * QUIET_MS
    expect(desk.run()).toEqual([])
    desk.tell('b', { running: 0 })
    desk.run()
    desk.now += QUIET_MS - 1
    expect(desk.run()).toEqual([])
    expect(held(desk)).toEqual([undefined, undefined])
    desk.now += 1
    expect(desk.run()).toEqual(['hold'])
    expect(held(desk)).toEqual([[4], [3]])
    expect(desk.state.active?.epoch).toEqual(epoch)
    desk.now += QUIET_MS
    expect(desk.run()).toEqual([])
  })

  test('not to a page in the background; and the next plan begins without any', () => {
    const desk = served()
    desk.now += QUIET_MS
    desk.run()
    desk.now += QUIET_MS
    desk.tell('b', { visible: false })
    expect(desk.run()).toEqual(['hold'])
    expect(held(desk)).toEqual([[4], []])
    desk.linked.delete('b')
    desk.run()
    expect(held(desk)).toEqual([undefined])
  })
})

test('two devices that cannot reach each other are not in one ring', () => {
  const desk = new Desk()
  desk.add('b')
  desk.run()
  desk.add('c')
  desk.tell('c', { links: [{ device: 'a', rttMs: 1, bytesPerMs: null }] })
  desk.run()
  desk.now += 200_000
  expect(desk.run()).toEqual([])
  expect(desk.state.active?.stages.map(({ device }) => device)).toEqual(['a', 'b'])
})

test('a device that has not opened the model is dealt nothing', () => {
  const desk = new Desk()
  desk.tell('a', { state: { kind: 'joining' } })
  expect(desk.run()).toEqual([])
})

describe('before the first plan', () => {
  test('a device alone waits a moment for others, then goes ahead', () => {
    const desk = new Desk()
    desk.expected = null
    expect(desk.run()).toEqual([])
    desk.now += ALONE_MS
    expect(desk.run()).toEqual(['plan', 'activate'])
  })

  test('each join starts the wait again, so that all are dealt at once', () => {
    const desk = new Desk()
    desk.expected = null
    desk.run()
    desk.now += ALONE_MS - 1
    desk.add('b')
    expect(desk.run()).toEqual(['join'])
    desk.now += GATHER_MS
    expect(desk.run()).toEqual(['plan', 'activate'])
    expect(desk.state.active?.stages).toHaveLength(2)
  })

  test('where one device is announced it does not wait for others', () => {
    const desk = new Desk()
    desk.expected = 1
    expect(desk.run()).toEqual(['plan', 'activate'])
  })

  test('announced devices are waited for, but not for ever', () => {
    const desk = new Desk()
    desk.expected = 3
    desk.add('b')
    desk.run()
    desk.now += EXPECT_MS - 1
    expect(desk.run()).toEqual([])
    desk.add('c')
    expect(desk.run()).toEqual(['join', 'plan', 'activate'])
    const late = new Desk()
    late.expected = 3
    late.run()
    late.now += EXPECT_MS
    expect(late.run()).toEqual(['plan', 'activate'])
  })

  test('who comes while the first plan loads is dealt in before it is done', () => {
    const desk = new Desk()
    desk.expected = null
    desk.step()
    desk.now += ALONE_MS
    expect(desk.step()).toMatchObject({ kind: 'plan' })
    desk.add('b')
    expect(desk.step()).toMatchObject({ kind: 'join' })
    expect(desk.step()).toBeNull()
    desk.now += GATHER_MS
    expect(desk.run()).toEqual(['plan', 'activate'])
    expect(desk.state.active?.stages).toHaveLength(2)
  })
})
