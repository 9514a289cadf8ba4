/** Layers change hands while answers are generated: the same tokens, and no row twice. */
import { describe, expect, it } from 'vitest'
import { encodeFrame, PLAIN, type Frame } from './frame.ts'
import { reference } from './testing/fake-model.ts'
import { settle, type FakeRoom } from './testing/fake-room.ts'
import { HOT, plan, prompt, question as asked, room, runsOf } from './testing/rooms.ts'
import { GREEDY, type Ask, type RingPlan } from './types.ts'

const FIRST = plan(1, ['a', 0, 2], ['b', 2, 4], ['c', 4, 6])
/** A layer from b to c, one from a to b; and a device that joins. */
const SECOND = plan(2, ['a', 0, 1], ['b', 1, 3], ['c', 3, 6])
const THIRD = plan(3, ['a', 0, 2], ['b', 2, 4], ['c', 4, 6])
const JOINED = plan(2, ['a', 0, 1], ['d', 1, 3], ['b', 3, 4], ['c', 4, 6])
const ELSEWHERE = plan(2, ['b', 0, 3], ['c', 3, 6])

const MODEL = { layers: 6, residual: true }
const ALL = ['a', 'b', 'c', 'd', 'e']

/** Without guesses, so that the rows that are fed can be counted. */
const question = (sequence: number, ids: number[], more: Partial<Ask> = {}): Ask =>
  asked(sequence, ids, { speculate: false, ...more })

/** Rows that were fed, by the device that embeds them. */
const fed = (made: FakeRoom, device: string): number =>
  runsOf(made, device)
    .filter(({ span }) => span === 0)
    .reduce((sum, { rows }) => sum + rows, 0)

/** Lets copies run ahead of the plan. */
async function ahead(made: FakeRoom, next: RingPlan, before: RingPlan): Promise<void> {
  await made.prepare(next, before)
  for (let i = 0; i < 60; i++) {
    await made.step()
    if (i % 10 === 9) made.clock.move(100)
  }
}

/** Until nothing moves, and what waits for time has had it. */
async function rest(made: FakeRoom): Promise<void> {
  for (let i = 0; i < 10; i++) {
    await made.run()
    made.clock.move(500)
  }
}

describe('layers move while an answer is generated', () => {
  it('forth and back: the same tokens, and each row is fed once', async () => {
    for (let seed = 1; seed <= 3; seed++) {
      const { manifest, room: made } = await room(MODEL, FIRST, seed)
      const ask = question(1, prompt(30), { sampling: HOT, maxTokens: 120 })
      const answer = made.ask('e', ask)
      await made.run(() => answer.tokens.length >= 5 + seed)
      await ahead(made, SECOND, FIRST)
      made.serve(SECOND)
      await made.run(() => answer.tokens.length >= 60 + seed)
      await ahead(made, THIRD, SECOND)
      made.serve(THIRD)
      await rest(made)
      expect(answer.tokens).toEqual(await reference(manifest, ask.ids, 120, HOT))
      expect(answer.end).toMatchObject({ stats: { promptTokens: 30, newTokens: 120 } })
      expect(fed(made, 'a')).toBe(30 + 119)
      expect(made.errors).toEqual([])
      // Two plans have ended on three devices.
      expect(made.ended).toBe(6)
    }
  })

  it('without a copy ahead all of it comes at the cut-over', async () => {
    const { manifest, room: made } = await room(MODEL, FIRST)
    const answer = made.ask('e', question(1, prompt(100), { maxTokens: 40 }))
    await made.run(() => answer.tokens.length >= 5)
    await made.prepare(SECOND, FIRST, ALL, false)
    made.serve(SECOND)
    await rest(made)
    expect(answer.tokens).toEqual(await reference(manifest, prompt(100), 40, GREEDY))
    expect(fed(made, 'a')).toBe(139)
  })

  it('to a device that joins', async () => {
    for (let seed = 1; seed <= 2; seed++) {
      const { manifest, room: made } = await room(MODEL, FIRST, seed)
      const answer = made.ask('e', question(1, prompt(30), { maxTokens: 60 }))
      await made.run(() => answer.tokens.length >= 5)
      await ahead(made, JOINED, FIRST)
      made.serve(JOINED)
      await rest(made)
      expect(answer.tokens).toEqual(await reference(manifest, prompt(30), 60, GREEDY))
      expect(fed(made, 'a')).toBe(89)
      expect(runsOf(made, 'd').length).toBeGreaterThan(10)
    }
  })

  it('and the new plan reaches the devices at different times', async () => {
    for (let seed = 1; seed <= 2; seed++) {
      const { manifest, room: made } = await room(MODEL, FIRST, seed)
      const answer = made.ask('e', question(1, prompt(30), { maxTokens: 60 }))
      await made.run(() => answer.tokens.length >= 5)
      for (const id of ['d', 'c', 'a', 'e', 'b']) {
        await made.prepare(JOINED, FIRST, [id])
        for (let i = 0; i < 5; i++) await made.step()
      }
      for (const id of ['e', 'c', 'a', 'd', 'b']) {
        made.serve(JOINED, [id])
        for (let i = 0; i < 7; i++) await made.step()
      }
      await rest(made)
      expect(answer.tokens).toEqual(await reference(manifest, prompt(30), 60, GREEDY))
      expect(fed(made, 'a')).toBe(89)
    }
  })

  it('in the middle of a prompt', async () => {
    for (let seed = 1; seed <= 3; seed++) {
      const { manifest, room: made } = await room(MODEL, FIRST, seed)
      const answer = made.ask('e', question(1, prompt(200), { maxTokens: 20 }))
      for (let i = 0; i < 10 + seed * 3; i++) await made.step()
      expect(answer.tokens).toEqual([])
      await made.prepare(SECOND, FIRST)
      made.serve(SECOND)
      await rest(made)
      expect(answer.tokens).toEqual(await reference(manifest, prompt(200), 20, GREEDY))
      expect(fed(made, 'a')).toBe(219)
    }
  })

  it('of several sequences, each on its own', async () => {
    const { manifest, room: made } = await room(MODEL, FIRST, 3)
    const asks = [1, 2, 3, 4].map((i) =>
      question(i, prompt(i * 20, i), { maxTokens: 40, sampling: { ...HOT, seed: i } }),
    )
    const answers = asks.map((ask, i) => made.ask(['a', 'b', 'e'][i % 3]!, ask))
    await made.run(() => answers.every(({ tokens }) => tokens.length > 2))
    await ahead(made, SECOND, FIRST)
    made.serve(SECOND)
    await rest(made)
    for (const [i, { ids, sampling }] of asks.entries())
      expect(answers[i]!.tokens).toEqual(await reference(manifest, ids, 40, sampling))
    expect(fed(made, 'a')).toBe(20 + 40 + 60 + 80 + 4 * 39)
  })

  it('and the next turn of a chat that was idle meanwhile reuses its rows', async () => {
    const { manifest, room: made } = await room(MODEL, FIRST)
    const first = made.ask('e', question(1, prompt(30)))
    await made.run()
    await ahead(made, SECOND, FIRST)
    made.serve(SECOND)
    await rest(made)
    expect(made.ended).toBe(3)
    const ids = [...prompt(30), ...first.tokens, ...prompt(5, 9)]
    const second = made.ask('e', question(1, ids))
    await rest(made)
    expect(second.tokens).toEqual(await reference(manifest, ids, 12, GREEDY))
    expect(second.end).toMatchObject({ stats: { reusedTokens: 41 } })
    expect(fed(made, 'a')).toBe(41 + 6 + 11)
  })

  it('and what is rolled back meanwhile is not believed', async () => {
    const { manifest, room: made } = await room(MODEL, FIRST)
    made.ask('e', question(1, prompt(60)))
    await made.run()
    await ahead(made, SECOND, FIRST)
    const ids = [...prompt(21), ...prompt(50, 8)]
    const second = made.ask('e', question(1, ids, { maxTokens: 40 }))
    await made.run(() => second.tokens.length > 3)
    made.serve(SECOND)
    await rest(made)
    expect(second.tokens).toEqual(await reference(manifest, ids, 40, GREEDY))
    expect(fed(made, 'a')).toBe(71 + 50 + 39)
  })
})

describe('the starter moves', () => {
  it('while it answers: the next one goes on from the caches', async () => {
    for (let seed = 1; seed <= 3; seed++) {
      const { manifest, room: made } = await room(MODEL, FIRST, seed)
      const ask = question(1, prompt(30), { sampling: HOT, maxTokens: 60 })
      const answer = made.ask('e', ask)
      await made.run(() => answer.tokens.length >= 5 + seed)
      await ahead(made, ELSEWHERE, FIRST)
      made.serve(ELSEWHERE)
      await rest(made)
      expect(answer.tokens).toEqual(await reference(manifest, ask.ids, 60, HOT))
      // What b ran as a stage of the first plan was fed by a.
      const asStage = runsOf(made, 'b').filter(({ layout }) => layout <= 3)
      const sum = asStage.reduce((rows, run) => rows + run.rows, 0)
      expect(fed(made, 'a') + fed(made, 'b') - sum).toBe(89)
      expect(answer.events.filter(({ kind }) => kind === 'token')).toHaveLength(60)
    }
  })

  it('while it reads, while it is idle, and back', async () => {
    for (let seed = 1; seed <= 2; seed++) {
      const { manifest, room: made } = await room(MODEL, FIRST, seed)
      const idle = made.ask('d', question(1, prompt(40)))
      await made.run()
      const answer = made.ask('e', question(2, prompt(200), { maxTokens: 20 }))
      for (let i = 0; i < 10 + seed * 3; i++) await made.step()
      await ahead(made, ELSEWHERE, FIRST)
      made.serve(ELSEWHERE)
      await rest(made)
      expect(answer.tokens).toEqual(await reference(manifest, prompt(200), 20, GREEDY))
      await ahead(made, THIRD, ELSEWHERE)
      made.serve(THIRD)
      await rest(made)
      const ids = [...prompt(40), ...idle.tokens, 3]
      const again = made.ask('d', question(1, ids))
      await rest(made)
      expect(again.tokens).toEqual(await reference(manifest, ids, 12, GREEDY))
      expect(again.end).toMatchObject({ stats: { reusedTokens: 51 } })
    }
  })

  it('and is gone: the answer is read in again', async () => {
    for (let seed = 1; seed <= 2; seed++) {
      const { manifest, room: made } = await room(MODEL, FIRST, seed)
      const answer = made.ask('e', question(1, prompt(30), { maxTokens: 30 }))
      await made.run(() => answer.tokens.length >= 5)
      made.remove('a')
      await made.run()
      await made.prepare(ELSEWHERE, FIRST)
      made.serve(ELSEWHERE)
      await rest(made)
      expect(answer.tokens).toEqual(await reference(manifest, prompt(30), 30, GREEDY))
    }
  })
})

describe('a plan ends on all its devices', () => {
  it('also where what its starter says is lost with a link', async () => {
    const { room: made } = await room(MODEL, FIRST)
    made.ask('e', question(1, prompt(20)))
    await made.run()
    await ahead(made, SECOND, FIRST)
    made.serve(SECOND, ['a', 'b', 'd', 'e'])
    made.cut('a', 'c')
    made.connect('a', 'c')
    await made.run()
    made.serve(SECOND, ['c'])
    await rest(made)
    expect(made.ended).toBe(3)
  })

  it('also where its starter vanishes before it says so', async () => {
    const { room: made } = await room(MODEL, FIRST)
    const answer = made.ask('e', question(1, prompt(20), { maxTokens: 40 }))
    await made.run(() => answer.tokens.length > 4)
    await made.prepare(ELSEWHERE, FIRST)
    made.serve(ELSEWHERE, ['b', 'c', 'd', 'e'])
    made.remove('a')
    const before = made.ended
    await rest(made)
    expect(made.ended - before).toBe(2)
    expect(answer.tokens).toHaveLength(40)
  })

  it('and not before, however long its starter takes to hear of the next one', async () => {
    const { manifest, room: made } = await room(MODEL, FIRST)
    const answer = made.ask('e', question(1, prompt(20), { maxTokens: 400 }))
    await made.run(() => answer.tokens.length > 4)
    await ahead(made, SECOND, FIRST)
    made.serve(SECOND, ['b', 'c', 'd', 'e'])
    for (let second = 0; second < 90; second++) {
      for (let i = 0; i < 12; i++) await made.step()
      made.clock.move(1000)
    }
    expect(answer.end).toBeNull()
    expect(made.ended).toBe(0)
    made.serve(SECOND, ['a'])
    await rest(made)
    expect(answer.tokens).toEqual(await reference(manifest, prompt(20), 400, GREEDY))
    expect(made.ended).toBe(3)
  })
})

describe('faults on the way', () => {
  it('the link between the holders is lost while rows are copied', async () => {
    for (let seed = 1; seed <= 3; seed++) {
      const { manifest, room: made } = await room(MODEL, FIRST, seed)
      const answer = made.ask('e', question(1, prompt(60), { maxTokens: 60 }))
      await made.run(() => answer.tokens.length >= 5)
      await made.prepare(JOINED, FIRST)
      for (let i = 0; i < 4 + seed; i++) await made.step()
      made.cut('b', 'd')
      for (let i = 0; i < seed; i++) await made.step()
      made.serve(JOINED)
      for (let i = 0; i < 20; i++) await made.step()
      made.connect('b', 'd')
      await rest(made)
      expect(answer.tokens).toEqual(await reference(manifest, prompt(60), 60, GREEDY))
    }
  })

  it('the old holder vanishes', async () => {
    const next = plan(2, ['a', 0, 2], ['d', 2, 4], ['c', 4, 6])
    for (let seed = 1; seed <= 3; seed++) {
      const { manifest, room: made } = await room(MODEL, FIRST, seed)
      const answer = made.ask('e', question(1, prompt(30), { maxTokens: 30 }))
      await made.run(() => answer.tokens.length >= 5)
      await ahead(made, next, FIRST)
      made.remove('b')
      for (let i = 0; i < seed; i++) await made.step()
      made.serve(next)
      await made.run()
      expect(answer.tokens).toEqual(await reference(manifest, prompt(30), 30, GREEDY))
    }
  })

  it('the next plan comes before the last one has settled', async () => {
    for (let seed = 1; seed <= 3; seed++) {
      const { manifest, room: made } = await room(MODEL, FIRST, seed)
      const answer = made.ask('e', question(1, prompt(60), { maxTokens: 60 }))
      await made.run(() => answer.tokens.length >= 5)
      const plans = [SECOND, THIRD, plan(4, ['b', 0, 3], ['a', 3, 6])]
      let before: RingPlan = FIRST
      for (const next of plans) {
        await made.prepare(next, before)
        for (let i = 0; i < seed; i++) await made.step()
        made.serve(next)
        for (let i = 0; i < seed; i++) await made.step()
        before = next
      }
      await rest(made)
      expect(answer.tokens).toEqual(await reference(manifest, prompt(60), 60, GREEDY))
    }
  })

  it('a device whose engine is another one: its rows are read in again', async () => {
    for (let seed = 1; seed <= 2; seed++) {
      const { manifest, room: made } = await room(MODEL, FIRST, seed)
      const answer = made.ask('e', question(1, prompt(60), { maxTokens: 60 }))
      await made.run(() => answer.tokens.length >= 5)
      await made.prepare(SECOND, FIRST, ['a', 'c', 'd', 'e'])
      made.device('b').engine = null
      await made.prepare(SECOND, FIRST, ['b'])
      for (const id of ALL) {
        made.serve(SECOND, [id])
        await made.step()
      }
      await made.run()
      expect(answer.tokens).toEqual(await reference(manifest, prompt(60), 60, GREEDY))
    }
  })

  it('rows that nobody asked for, of a wrong size or layer, change nothing', async () => {
    const { manifest, room: made } = await room(MODEL, FIRST)
    const answer = made.ask('e', question(1, prompt(30), { maxTokens: 40 }))
    await made.run(() => answer.tokens.length >= 5)
    await made.prepare(SECOND, FIRST)
    const kv = (change: Partial<Frame>, bytes = 20): Frame => ({
      ...PLAIN,
      kind: 'kv',
      epoch: SECOND.epoch,
      sequence: 1,
      rows: 1,
      tensor: 3,
      payload: new Uint8Array(bytes),
      ...change,
    })
    const lies = [
      kv({}),
      kv({ position: 4 }),
      kv({ tensor: 99 }),
      kv({ tensor: 5 }),
      kv({ rows: 2 }),
      kv({}, 24),
      kv({ sequence: 7 }),
      kv({ rows: 256 }, 256 * 20),
      kv({ kind: 'kv-list', payload: new TextEncoder().encode('[[1,2000000]]') }),
      kv({ kind: 'kv-list', payload: new TextEncoder().encode('[["a"]]') }),
      kv({ kind: 'state', payload: new TextEncoder().encode('{}') }),
      kv({ kind: 'moved', payload: new Uint8Array(0), rows: 0 }),
      kv({ kind: 'kv-want', payload: new Uint8Array(0), rows: 60_000, tensor: 2 }),
    ]
    for (const [i, lie] of lies.entries()) {
      const message = new Uint8Array([0, 0, 0, 0, 0, 0, 1, 0, ...encodeFrame(lie)])
      new DataView(message.buffer).setUint32(0, 2 ** 31 + i, true)
      for (const to of ['a', 'b', 'c']) made.inject('d', to, message)
    }
    await settle()
    for (let i = 0; i < 40; i++) await made.step()
    made.serve(SECOND)
    await rest(made)
    expect(answer.tokens).toEqual(await reference(manifest, prompt(30), 40, GREEDY))
    expect(fed(made, 'a')).toBe(69)
    expect(made.device('c').ring.counts.malformed).toBeGreaterThanOrEqual(4)
  })
})
