import { describe, expect, it } from 'vitest'
import { StageError } from '../stage/types.ts'
import {
  fakeManifest,
  reference,
  VOCABULARY,
  type FakeOptions,
} from './testing/fake-model.ts'
import { FakeRoom, randomFrom, settle } from './testing/fake-room.ts'
import { GREEDY, type Ask, type RingPlan, type Sampling } from './types.ts'

const HOT: Sampling = {
  temperature: 0.9,
  topK: 20,
  topP: 0.9,
  repetitionPenalty: 1.2,
  seed: 5,
}

function plan(number: number, ...stages: [string, number, number][]): RingPlan {
  return {
    epoch: { term: 1, number },
    stages: stages.map(([device, from, to]) => ({ device, from, to })),
  }
}

const PLANS: Readonly<Record<number, RingPlan>> = {
  1: plan(1, ['a', 0, 6]),
  2: plan(1, ['a', 0, 2], ['b', 2, 6]),
  3: plan(1, ['a', 0, 0], ['b', 0, 3], ['c', 3, 6]),
  4: plan(1, ['a', 0, 1], ['b', 1, 2], ['c', 2, 4], ['d', 4, 6]),
}

function prompt(length: number, seed = 1): number[] {
  const random = randomFrom(seed)
  return Array.from({ length }, () => Math.floor(random() * VOCABULARY))
}

function question(sequence: number, ids: number[], more: Partial<Ask> = {}): Ask {
  return { sequence, ids, maxTokens: 12, sampling: GREEDY, ...more }
}

async function room(model: FakeOptions, first: RingPlan, seed = 1, more = {}) {
  const manifest = fakeManifest(model)
  const made = new FakeRoom(['a', 'b', 'c', 'd', 'e'], {
    manifest,
    seed,
    chunkRows: 8,
    ...more,
  })
  await made.activate(first)
  return { manifest, room: made }
}

const runsOf = (made: FakeRoom, device: string) => made.device(device).engine?.runs ?? []

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
        scheduler.add = (job) => {
          const before = chunks() - (engine.running && engine.running.rows > 1 ? 1 : 0)
          const run = async () => {
            if (job.rows === 1) waits.push(chunks() - before)
            await job.run()
          }
          add({ ...job, run })
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

describe('faults', () => {
  it('a link between two stages is cut and comes back: the same tokens', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { manifest, room: made } = await room(
        { layers: 6, residual: true },
        PLANS[4]!,
        seed,
      )
      const answer = made.ask('e', question(1, prompt(60), { maxTokens: 30 }))
      for (const [a, b] of [
        ['b', 'c'],
        ['a', 'd'],
        ['a', 'e'],
      ] as const) {
        for (let i = 0; i < 10 + seed * 5; i++) await made.step()
        made.cut(a, b)
        for (let i = 0; i < seed; i++) await made.step()
        made.connect(a, b)
      }
      await made.run()
      for (let i = 0; i < 20 && !answer.end; i++) {
        made.clock.move(500)
        await made.run()
      }
      expect(answer.tokens).toEqual(await reference(manifest, prompt(60), 30, GREEDY))
      expect(answer.end).toMatchObject({ kind: 'end', reason: 'length' })
    }
  })

  it('a link that stays away fails the answer with a sentence', async () => {
    const { room: made } = await room({ layers: 6 }, PLANS[4]!)
    const answer = made.ask('e', question(1, prompt(30)))
    await made.run(() => answer.tokens.length === 3)
    made.cut('b', 'c')
    for (let i = 0; i < 70; i++) {
      await made.run()
      made.clock.move(500)
    }
    expect(answer.end).toMatchObject({
      kind: 'failed',
      message: 'Two phones lost each other; bring them closer and ask again.',
    })
  })

  it('a stage that lost its rows is fed again', async () => {
    const { manifest, room: made } = await room({ layers: 6, residual: true }, PLANS[4]!)
    const answer = made.ask('e', question(1, prompt(30)))
    for (const [i, id] of ['b', 'd', 'a', 'c'].entries()) {
      await made.run(() => answer.tokens.length >= i * 2 + 1)
      if (i % 2) made.device(id).engine?.drop(1)
      else made.device(id).engine?.truncate(1, 13)
    }
    await made.run()
    expect(answer.tokens).toEqual(await reference(manifest, prompt(30), 12, GREEDY))
  })

  it('caches that do not fit together take turns', async () => {
    const model = { layers: 6 }
    // Of stage d: two layers, 16 bytes per row and layer: room for one sequence.
    const { manifest, room: made } = await room(model, PLANS[4]!, 1, {
      cacheBudget: 1500,
    })
    const answers = [1, 2].map((s) =>
      made.ask('e', question(s, prompt(30, s), { maxTokens: 5 })),
    )
    await made.run()
    for (const [i, { tokens }] of answers.entries())
      expect(tokens).toEqual(await reference(manifest, prompt(30, i + 1), 5, GREEDY))
  })

  it('an answer that outgrows the memory of a stage ends there', async () => {
    const { room: made } = await room({ layers: 6 }, PLANS[4]!, 1, { cacheBudget: 1100 })
    const answer = made.ask('e', question(1, prompt(30)))
    await made.run()
    expect(answer.tokens).toHaveLength(6)
    expect(answer.end).toMatchObject({ kind: 'end', reason: 'length' })
  })

  it('a stage that breaks fails the answer with a sentence, and serves the next', async () => {
    const { manifest, room: made } = await room({ layers: 6 }, PLANS[4]!)
    made.device('c').engine!.nextError = new StageError('internal', 'x')
    const answer = made.ask('e', question(1, prompt(30)))
    await made.run()
    expect(answer.end).toMatchObject({
      kind: 'failed',
      message: 'A phone could not compute its part; ask again.',
    })
    const next = made.ask('e', question(1, prompt(30)))
    await made.run()
    expect(next.tokens).toEqual(await reference(manifest, prompt(30), 12, GREEDY))
  })

  it('malformed floods change nothing', async () => {
    const { manifest, room: made } = await room(
      { layers: 6, residual: true },
      PLANS[4]!,
      5,
    )
    const random = randomFrom(99)
    const seen: Uint8Array[] = []
    made.onDeliver = (_, __, message) => {
      if (seen.length < 200) seen.push(message)
    }
    const answer = made.ask('e', question(1, prompt(30)))
    const ids = ['a', 'b', 'c', 'd']
    while (answer.end === null) {
      await made.step()
      const bytes = Uint8Array.from(
        { length: Math.floor(random() * 200) },
        () => random() * 256,
      )
      const copy = seen[Math.floor(random() * seen.length)]?.slice() ?? bytes
      if (copy.length > 48) copy[8 + Math.floor(random() * 2)] = 200 + random() * 50
      const from = ids[Math.floor(random() * 4)]!
      const to = ids.filter((id) => id !== from)[Math.floor(random() * 3)]!
      const message = random() < 0.5 ? bytes : copy
      // Far from the real ones: a mate can always spoil the numbering of its own link.
      if (message.length > 8)
        new DataView(message.buffer).setUint32(0, 2 ** 31 + random() * 1e9, true)
      if (random() < 0.8) made.inject(from, to, message)
    }
    await made.run()
    expect(answer.tokens).toEqual(await reference(manifest, prompt(30), 12, GREEDY))
    expect(made.errors).toEqual([])
    const counts = ids.map((id) => made.device(id).ring.counts.malformed)
    expect(Math.min(...counts)).toBeGreaterThan(10)
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
