import { describe, expect, it } from 'vitest'
import type { Work } from './scheduler.ts'
import { fakeManifest, reference, type FakeOptions } from './testing/fake-model.ts'
import { randomFrom, settle } from './testing/fake-room.ts'
import { HOT, plan, PLANS, prompt, question, room, runsOf } from './testing/rooms.ts'
import { StageError } from '../stage/types.ts'
import { GREEDY } from './types.ts'

describe('the same tokens as in one piece', () => {
  const models: Record<string, FakeOptions> = {
    plain: { layers: 6 },
    residual: { layers: 6, residual: true },
    'with a head input that cannot be cut': {
      layers: 6,
      wholeChunks: true,
      residual: true,
    },
  }
  for (const [name, model] of Object.entries(models))
    for (const [stages, first] of Object.entries(PLANS))
      it(`${name}, ${stages} stages`, async () => {
        const { manifest, room: made } = await room(model, first, Number(stages))
        for (const [i, length] of [1, 7, 8, 9, 50].entries())
          for (const sampling of [GREEDY, HOT]) {
            const ids = prompt(length, i)
            const sequence = i * 2 + (sampling === HOT ? 1 : 0)
            const answer = made.ask('e', question(sequence, ids, { sampling }))
            await made.run()
            expect(answer.tokens).toEqual(await reference(manifest, ids, 12, sampling))
            expect(answer.end).toMatchObject({ kind: 'end', reason: 'length' })
          }
        expect(made.errors).toEqual([])
      })

  it('for an asker that is the starter', async () => {
    const { manifest, room: made } = await room({ layers: 6 }, PLANS[3]!)
    const answer = made.ask('a', question(1, prompt(20)))
    await made.run()
    expect(answer.tokens).toEqual(await reference(manifest, prompt(20), 12, GREEDY))
    expect(answer.events.filter(({ kind }) => kind === 'token')).toHaveLength(12)
  })

  it('alone, without a message on any link', async () => {
    const { manifest, room: made } = await room({ layers: 6 }, PLANS[1]!)
    let messages = 0
    made.onDeliver = () => messages++
    const answer = made.ask('a', question(1, prompt(20)))
    await made.run()
    expect(answer.tokens).toEqual(await reference(manifest, prompt(20), 12, GREEDY))
    expect(messages).toBe(0)
    // Embedding to head in one run: three chunks, then one per token after the first.
    expect(runsOf(made, 'a')).toHaveLength(3 + 11)
  })
})

describe('an answer', () => {
  it('ends at a token of the model, which is not shown', async () => {
    const whole = await reference(fakeManifest({ layers: 6 }), prompt(9), 12, GREEDY)
    const eos = whole[5]!
    const { manifest, room: made } = await room({ layers: 6, eos: [eos] }, PLANS[2]!)
    const answer = made.ask('c', question(1, prompt(9)))
    await made.run()
    expect(answer.tokens).toEqual(whole.slice(0, whole.indexOf(eos)))
    expect(answer.tokens).toEqual(await reference(manifest, prompt(9), 12, GREEDY))
    expect(answer.end).toMatchObject({ kind: 'end', reason: 'eos' })
  })

  it('ends where the context ends', async () => {
    const { room: made } = await room({ layers: 6, context: 30 }, PLANS[2]!)
    const answer = made.ask('c', question(1, prompt(25)))
    await made.run()
    expect(answer.tokens).toHaveLength(5)
    expect(answer.end).toMatchObject({ reason: 'length' })
  })

  it('fails at once where the prompt fills the memory', async () => {
    const { room: made } = await room({ layers: 6 }, PLANS[2]!, 1, { context: 40 })
    const answer = made.ask('c', question(1, prompt(40)))
    await made.run()
    expect(answer.end).toEqual({
      kind: 'failed',
      sequence: 1,
      message: 'This chat is longer than the 40 tokens that fit; start a new one.',
    })
  })

  it('stops within a lap', async () => {
    const { room: made } = await room({ layers: 6 }, PLANS[4]!)
    const answer = made.ask('e', question(1, prompt(9), { maxTokens: 500 }))
    await made.run(() => answer.tokens.length === 4)
    made.device('e').ring.stop(1)
    await made.run()
    expect(answer.end).toMatchObject({ kind: 'end', reason: 'stopped' })
    const { length } = answer.tokens
    expect(length).toBeLessThan(20)
    const laps = runsOf(made, 'd').length
    await made.run()
    expect(runsOf(made, 'd')).toHaveLength(laps)
    expect(answer.events.at(-1)).toBe(answer.end)
  })

  it('reuses the rows of the turn before', async () => {
    const { manifest, room: made } = await room({ layers: 6, residual: true }, PLANS[3]!)
    const first = made.ask('e', question(1, prompt(30)))
    await made.run()
    // The last token was never fed; all the rest is there.
    const ids = [...prompt(30), ...first.tokens, ...prompt(5, 9)]
    const second = made.ask('e', question(1, ids))
    await made.run()
    expect(second.tokens).toEqual(await reference(manifest, ids, 12, GREEDY))
    expect(second.end).toMatchObject({
      stats: { promptTokens: 47, reusedTokens: 41, newTokens: 12 },
    })
    const edited = [...prompt(21), ...prompt(4, 8)]
    const third = made.ask('e', question(1, edited))
    await made.run()
    expect(third.tokens).toEqual(await reference(manifest, edited, 12, GREEDY))
    expect(third.end).toMatchObject({ stats: { reusedTokens: 21 } })
    expect(made.errors).toEqual([])
  })

  it('is right when asked again while its last lap is on the way', async () => {
    const { manifest, room: made } = await room(
      { layers: 6, residual: true },
      PLANS[4]!,
      3,
    )
    for (let i = 0; i < 10; i++) {
      const length = 20 + (i % 3)
      const cut = made.ask('e', question(1, prompt(length, i), { maxTokens: 500 }))
      await made.run(() => cut.tokens.length > i % 4)
      made.device('e').ring.stop(1)
      await made.run(() => cut.end !== null)
    }
    const last = made.ask('e', question(1, prompt(21, 4)))
    await made.run()
    expect(last.tokens).toEqual(await reference(manifest, prompt(21, 4), 12, GREEDY))
  })

  it('is refused to a device that did not begin the chat', async () => {
    const { room: made } = await room({ layers: 6 }, PLANS[2]!)
    const own = made.ask('c', question(1, prompt(9)))
    await made.run()
    const other = made.ask('d', question(1, prompt(9)))
    await made.run()
    expect(own.end).toMatchObject({ kind: 'end' })
    expect(other.end).toMatchObject({ kind: 'failed' })
  })

  it('leaves nothing on any stage once it is forgotten', async () => {
    const { room: made } = await room({ layers: 6, residual: true }, PLANS[4]!)
    made.ask('e', question(1, prompt(9)))
    await made.run()
    for (const id of ['a', 'b', 'c', 'd']) expect(made.device(id).ring.sequences).toBe(1)
    made.device('e').ring.forget(1)
    await made.run()
    for (const id of ['a', 'b', 'c', 'd']) {
      expect(made.device(id).ring.sequences).toBe(0)
      expect(made.device(id).engine?.memory().caches).toBe(0)
    }
  })
})

describe('several sequences', () => {
  it('interleave, each with its own tokens', async () => {
    const { manifest, room: made } = await room(
      { layers: 6, residual: true },
      PLANS[4]!,
      7,
    )
    const asks = Array.from({ length: 12 }, (_, i) =>
      question(i, prompt(1 + ((i * 7) % 40), i), { sampling: { ...HOT, seed: i } }),
    )
    const answers = asks.map((ask, i) => made.ask(['a', 'b', 'e'][i % 3]!, ask))
    await made.run()
    for (const [i, { ids, sampling }] of asks.entries())
      expect(answers[i]!.tokens).toEqual(await reference(manifest, ids, 12, sampling))
    expect(made.errors).toEqual([])
  })

  it('a long prompt delays a step by one chunk at most, on every stage', async () => {
    const waits: number[] = []
    for (let seed = 1; seed <= 10; seed++) {
      const { room: made } = await room({ layers: 6, context: 4096 }, PLANS[3]!, seed, {
        chunkRows: 64,
      })
      const random = randomFrom(seed)
      for (const id of ['a', 'b', 'c']) {
        const { scheduler, engine } = made.device(id)
        if (!engine) throw new Error('no engine')
        engine.pace = () => settle(Math.floor(random() * 100))
        const add = scheduler.add.bind(scheduler)
        const chunks = () => engine.runs.filter(({ rows }) => rows > 1).length
        const before = new Map<unknown, number>()
        const watched = new Map<unknown, Work<unknown>>()
        const watch = (work: Work<unknown>): Work<unknown> => ({
          most: (sequences) => work.most(sequences),
          run: (tasks) => {
            for (const n of tasks.flatMap((task) => before.get(task) ?? []))
              waits.push(chunks() - n)
            return work.run(tasks)
          },
        })
        scheduler.add = ({ work, ...job }) => {
          const runs = engine.running && engine.running.rows > 1 ? 1 : 0
          if (job.isStep) before.set(job.task, chunks() - runs)
          watched.set(work, watched.get(work) ?? watch(work))
          add({ ...job, work: watched.get(work) ?? work })
        }
      }
      const short = made.ask('e', question(1, prompt(1), { maxTokens: 60 }))
      const third = made.ask('b', question(3, prompt(1), { maxTokens: 60 }))
      await made.run(() => short.tokens.length === 3)
      const long = made.ask('d', question(2, prompt(512)))
      await made.run()
      for (const { tokens } of [short, third]) expect(tokens).toHaveLength(60)
      expect(long.tokens).toHaveLength(12)
    }
    expect(Math.max(...waits)).toBe(1)
  })
})

describe('steps of several sequences that wait at a stage', () => {
  const asks = (count: number, maxTokens: number) =>
    Array.from({ length: count }, (_, i) =>
      question(i, prompt(3 + i, i), { maxTokens, sampling: { ...HOT, seed: i } }),
    )
  const sizes = (calls: readonly (readonly number[])[]) =>
    calls.map((sequences) => sequences.length)

  it('run as one, each with the tokens that it has alone', async () => {
    const { manifest, room: made } = await room({ layers: 6 }, PLANS[1]!)
    const all = asks(4, 20)
    const answers = all.map((ask) => made.ask('a', ask))
    await made.run()
    for (const [i, { ids, sampling }] of all.entries())
      expect(answers[i]!.tokens).toEqual(await reference(manifest, ids, 20, sampling))
    const { calls = [] } = made.device('a').engine ?? {}
    // They begin and end one after another.
    const found = sizes(calls)
    const together = found.slice(found.indexOf(4), found.lastIndexOf(4) + 1)
    expect(together.length).toBeGreaterThan(12)
    expect(new Set(together)).toEqual(new Set([4]))
    expect(made.errors).toEqual([])
  })

  it('stay apart where that keeps more stages at work', async () => {
    for (const [stages, count, most] of [
      [2, 2, 1],
      [2, 4, 2],
      [2, 5, 2],
      [4, 4, 1],
      [4, 8, 2],
    ] as const) {
      const { manifest, room: made } = await room({ layers: 6 }, PLANS[stages]!)
      // As long as several messages take.
      for (const { engine } of made.devices.values())
        if (engine) engine.pace = () => settle(200)
      const all = asks(count, 20)
      const answers = all.map((ask) => made.ask('a', ask))
      await made.run()
      for (const [i, { ids, sampling }] of all.entries())
        expect(answers[i]!.tokens).toEqual(await reference(manifest, ids, 20, sampling))
      for (const { device } of PLANS[stages]!.stages) {
        const found = sizes(made.device(device).engine?.calls ?? [])
        expect(Math.max(...found)).toBe(most)
        const full = found.filter((size) => size === most).length
        expect(full).toBeGreaterThan(10)
      }
    }
  })

  it('do not run as one on an engine that gains nothing', async () => {
    const { room: made } = await room({ layers: 6 }, PLANS[1]!)
    const { engine } = made.device('a')
    engine!.batches = false
    const answers = asks(4, 8).map((ask) => made.ask('a', ask))
    await made.run()
    for (const { tokens } of answers) expect(tokens).toHaveLength(8)
    expect(Math.max(...sizes(engine!.calls))).toBe(1)
  })

  it('fail each for itself', async () => {
    for (const code of ['internal', 'gap', 'out-of-memory'] as const) {
      const { manifest, room: made } = await room({ layers: 6 }, PLANS[1]!)
      const all = asks(3, 30)
      const answers = all.map((ask) => made.ask('a', ask))
      const { engine } = made.device('a')
      const errors = [new StageError(code, 'x')]
      engine!.pace = () => {
        if (engine!.calls.at(-1)?.length === 3) engine!.nextError = errors.pop() ?? null
        return Promise.resolve()
      }
      await made.run()
      expect(errors).toEqual([])
      const ends = answers.map(({ end }) => end?.kind)
      expect(ends.sort()).toEqual(
        code === 'internal' ? ['end', 'end', 'failed'] : ['end', 'end', 'end'],
      )
      for (const [i, { ids, sampling }] of all.entries())
        if (answers[i]!.end?.kind === 'end')
          expect(answers[i]!.tokens).toEqual(await reference(manifest, ids, 30, sampling))
    }
  })

  it('take turns where their caches do not fit side by side', async () => {
    const { manifest, room: made } = await room({ layers: 6 }, PLANS[1]!, 3, {
      cacheBudget: 3000,
    })
    const all = asks(3, 20)
    const answers = all.map((ask) => made.ask('a', ask))
    await made.run()
    for (const [i, { ids, sampling }] of all.entries())
      expect(answers[i]!.tokens).toEqual(await reference(manifest, ids, 20, sampling))
  })
})

describe('a change of the plan', () => {
  const NEXT = plan(2, ['c', 0, 3], ['b', 3, 4], ['d', 4, 6])

  it('mid-answer, to another starter and split: the same tokens, each once', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { manifest, room: made } = await room(
        { layers: 6, residual: true },
        PLANS[4]!,
        seed,
      )
      const ask = question(1, prompt(30), { sampling: HOT, maxTokens: 20 })
      const answer = made.ask('e', ask)
      await made.run(() => answer.tokens.length >= seed % 12)
      await made.activate(NEXT)
      await made.run()
      expect(answer.tokens).toEqual(await reference(manifest, ask.ids, 20, HOT))
      expect(answer.end).toMatchObject({ stats: { promptTokens: 30, newTokens: 20 } })
      expect(answer.events.map((e) => (e.kind === 'token' ? e.index : 'end'))).toEqual([
        ...Array.from({ length: 20 }, (_, i) => i),
        'end',
      ])
    }
  })

  it('that reaches the devices at different times', async () => {
    const { manifest, room: made } = await room({ layers: 6, residual: true }, PLANS[4]!)
    const answer = made.ask('e', question(1, prompt(30)))
    await made.run(() => answer.tokens.length === 3)
    for (const id of ['e', 'c', 'a', 'd', 'b']) {
      await made.activate(NEXT, [id])
      for (let i = 0; i < 7; i++) await made.step()
    }
    await made.run()
    expect(answer.tokens).toEqual(await reference(manifest, prompt(30), 12, GREEDY))
  })

  it('after a stage vanished', async () => {
    const { manifest, room: made } = await room({ layers: 6 }, PLANS[4]!)
    const answer = made.ask('e', question(1, prompt(30)))
    await made.run(() => answer.tokens.length === 5)
    made.remove('b')
    await made.run()
    expect(answer.end).toBeNull()
    await made.activate(NEXT_WITHOUT_B)
    await made.run()
    expect(answer.tokens).toEqual(await reference(manifest, prompt(30), 12, GREEDY))
  })
  const NEXT_WITHOUT_B = plan(2, ['a', 0, 2], ['c', 2, 4], ['d', 4, 6])

  it('after the starter vanished', async () => {
    const { manifest, room: made } = await room({ layers: 6 }, PLANS[4]!)
    const answer = made.ask('e', question(1, prompt(30)))
    await made.run(() => answer.tokens.length === 5)
    made.remove('a')
    await made.run()
    made.clock.move(100_000)
    expect(answer.end).toBeNull()
    await made.activate(NEXT)
    await made.run()
    expect(answer.tokens).toEqual(await reference(manifest, prompt(30), 12, GREEDY))
  })

  it('that never comes: the answer fails with a sentence', async () => {
    const { room: made } = await room({ layers: 6 }, PLANS[4]!)
    const answer = made.ask('e', question(1, prompt(30)))
    await made.run(() => answer.tokens.length === 5)
    made.remove('a')
    made.clock.move(120_000)
    expect(answer.end).toEqual({
      kind: 'failed',
      sequence: 1,
      message: 'The phone that leads the answer cannot be reached; ask again.',
    })
  })

  it('frames of the plan before are dropped', async () => {
    const { manifest, room: made } = await room({ layers: 6 }, PLANS[2]!)
    const late: [string, string, Uint8Array][] = []
    made.onDeliver = (from, to, message) => late.push([from, to, message])
    const answer = made.ask('e', question(1, prompt(30)))
    await made.run(() => answer.tokens.length === 5)
    made.onDeliver = () => undefined
    await made.activate(plan(2, ['a', 0, 3], ['b', 3, 6]))
    // As new frames, not as duplicates of old slices.
    for (const [i, [from, to, message]] of late.entries()) {
      const again = message.slice()
      new DataView(again.buffer).setUint32(0, 1_000_000 + i, true)
      made.inject(from, to, again)
    }
    await made.run()
    expect(made.device('b').ring.counts.stale).toBeGreaterThan(5)
    expect(answer.tokens).toEqual(await reference(manifest, prompt(30), 12, GREEDY))
  })
})

it('leaves no timer and no work behind when it is closed', async () => {
  const { room: made } = await room({ layers: 6 }, PLANS[4]!)
  made.ask('e', question(1, prompt(30)))
  for (let i = 0; i < 20; i++) await made.step()
  for (const { ring, links } of made.devices.values()) {
    ring.close()
    links.close()
  }
  await settle()
  expect(made.clock.waiting).toBe(0)
})
