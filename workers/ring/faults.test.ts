import { describe, expect, it } from 'vitest'
import { StageError } from '../stage/types.ts'
import { reference } from './testing/fake-model.ts'
import { randomFrom } from './testing/fake-room.ts'
import { PLANS, prompt, question, room } from './testing/rooms.ts'
import { GREEDY } from './types.ts'

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
