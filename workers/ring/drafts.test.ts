import { describe, expect, it } from 'vitest'
import { Drafter, LapCosts, lookUp } from './drafts.ts'
import { fakeManifest, reference } from './testing/fake-model.ts'
import { randomFrom } from './testing/fake-room.ts'
import { HOT, PLANS, prompt, question, room, runsOf } from './testing/rooms.ts'
import { GREEDY } from './types.ts'

describe('prompt lookup', () => {
  it('finds what followed the same words', () => {
    expect(lookUp([1, 2, 3, 4, 5, 9, 2, 3], 2)).toEqual({ match: 2, tokens: [4, 5] })
  })

  it('prefers the longer match, then the newer one', () => {
    const ids = [7, 1, 2, 50, 0, 1, 2, 60, 0, 0, 1, 2, 70, 7, 1, 2]
    expect(lookUp(ids, 1)).toEqual({ match: 3, tokens: [50] })
    expect(lookUp([1, 2, 60, 5, 1, 2, 70, 5, 6, 1, 2], 1).tokens).toEqual([70])
  })

  it('goes round where the text repeats itself', () => {
    expect(lookUp([5, 6, 7, 5, 6, 7, 5, 6, 7], 5).tokens).toEqual([5, 6, 7, 5, 6])
    expect(lookUp([8, 8, 8, 8, 8, 8], 3).tokens).toEqual([8, 8, 8])
  })

  it('has nothing to say on new words, single ones, or where nothing is wanted', () => {
    expect(lookUp([1, 2, 3, 4], 5).tokens).toEqual([])
    expect(lookUp([1, 2, 3, 9, 3], 5).tokens).toEqual([])
    expect(lookUp([1, 2, 1, 2], 0).tokens).toEqual([])
    expect(lookUp([], 5).tokens).toEqual([])
  })
})

describe('a draft', () => {
  const repeating = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2, 3, 4]

  /** How many tokens are tried in the end, where so many of each guess hold. */
  function settled(share: number, hold: number): number {
    const costs = new LapCosts()
    for (let rows = 1; rows <= 4; rows++) costs.add(rows, 100 * (1 + share * (rows - 1)))
    const drafter = new Drafter(costs)
    for (let i = 0; i < 50; i++) {
      drafter.next(repeating, 10)
      const right = [5, 6, 7, 8, 9, 10, 11, 1, 2, 3].slice(0, hold)
      drafter.heard([...right, 99])
    }
    return drafter.next(repeating, 10).length
  }

  it('grows where guesses hold and rows are cheap', () => {
    expect(settled(0.05, 10)).toBe(10)
    expect(settled(0.05, 3)).toBeGreaterThan(2)
    expect(settled(0.05, 3)).toBeLessThan(10)
  })

  it('is none where guesses fail, or rows cost as much as laps', () => {
    expect(settled(0.1, 0)).toBe(0)
    expect(settled(1, 3)).toBe(0)
  })

  it('comes back once guesses would hold again', () => {
    const drafter = new Drafter(new LapCosts())
    for (let i = 0; i < 50; i++) {
      drafter.next(repeating, 10)
      drafter.heard([99])
    }
    expect(drafter.next(repeating, 10)).toEqual([])
    drafter.heard([5])
    for (let i = 0; i < 10; i++) {
      drafter.next(repeating, 10)
      drafter.heard([5])
    }
    expect(drafter.next(repeating, 10).length).toBeGreaterThan(0)
  })

  it('costs what laps show, though some waited for something else', () => {
    const costs = new LapCosts()
    const random = randomFrom(3)
    for (let i = 0; i < 32; i++) {
      const rows = 1 + (i % 5)
      costs.add(rows, 80 + 8 * (rows - 1) + (random() < 0.2 ? 400 : random()))
    }
    expect(costs.share).toBeGreaterThan(0.07)
    expect(costs.share).toBeLessThan(0.13)
  })
})

describe('an answer with drafts', () => {
  /** Guesses that come true but for every `wrong`-th one. */
  const oracle = (all: readonly number[], wrong: number) => () => ({
    next: (ids: readonly number[], most: number) =>
      all
        .slice(ids.length, ids.length + Math.min(most, 4))
        .map((id, i) => ((ids.length + i) % wrong === 0 ? (id + 1) % 97 : id)),
    heard: () => undefined,
  })

  for (const sampling of [GREEDY, HOT])
    for (const [stages, first] of Object.entries(PLANS))
      for (const model of [
        { residual: true },
        { residual: true, wholeChunks: true },
        { eos: [3, 40, 60] },
      ])
        it(`is the same in fewer laps: ${JSON.stringify({ stages, model, t: sampling.temperature })}`, async () => {
          const ids = prompt(20, Number(stages))
          const manifest = fakeManifest({ layers: 6, ...model })
          const wanted = await reference(manifest, ids, 40, sampling)
          const more = { drafter: oracle([...ids, ...wanted], 7) }
          const { room: made } = await room({ layers: 6, ...model }, first, 3, more)
          const answer = made.ask('e', question(1, ids, { sampling, maxTokens: 40 }))
          await made.run()
          expect(answer.tokens).toEqual(wanted)
          expect(made.errors).toEqual([])
          const { end } = answer
          if (end?.kind !== 'end') throw new Error('the answer failed')
          expect(end.stats.newTokens).toBe(wanted.length)
          if (wanted.length > 10) expect(end.stats.laps).toBeLessThan(wanted.length / 2)
          // The next turn builds on the rows that held.
          const next = [...ids, ...wanted, 5, 6]
          const second = made.ask('e', question(1, next, { sampling }))
          await made.run()
          expect(second.tokens).toEqual(await reference(manifest, next, 12, sampling))
          expect(second.end).toMatchObject({
            stats: {
              reusedTokens: ids.length + wanted.length - (end.eos === undefined ? 1 : 0),
            },
          })
        })

  it('ends at its length and at the context, whatever the draft', async () => {
    const ids = prompt(20)
    const manifest = fakeManifest({ layers: 6, context: 40 })
    const wanted = await reference(manifest, ids, 100, GREEDY)
    const more = { drafter: oracle([...ids, ...wanted, 1, 2, 3, 4], 1000) }
    const { room: made } = await room({ layers: 6, context: 40 }, PLANS[3]!, 1, more)
    for (const maxTokens of [1, 2, 3, 4, 5, 6, 100]) {
      const answer = made.ask('e', question(maxTokens, ids, { maxTokens }))
      await made.run()
      expect(answer.tokens).toEqual(wanted.slice(0, maxTokens))
      expect(answer.end).toMatchObject({ kind: 'end', reason: 'length' })
    }
  })

  it('has one lap per token where it was asked so, or a cache cannot go back', async () => {
    const ids = prompt(20)
    const wanted = await reference(fakeManifest({ layers: 6 }), ids, 12, GREEDY)
    const more = { drafter: oracle([...ids, ...wanted], 1000) }
    const { manifest, room: made } = await room({ layers: 6 }, PLANS[3]!, 1, more)
    const plain = made.ask('e', question(1, ids, { speculate: false }))
    await made.run()
    expect(plain.end).toMatchObject({ stats: { laps: 11 } })
    const cache = manifest.segments[1]!.caches[0]! as { axis: number | null }
    cache.axis = null
    await made.activate({ ...PLANS[3]!, epoch: { term: 1, number: 2 } })
    const recurrent = made.ask('e', question(2, ids))
    await made.run()
    expect(recurrent.end).toMatchObject({ stats: { laps: 11 } })
    expect(recurrent.tokens).toEqual(wanted)
  })

  it('by lookup needs fewer laps on a text that repeats itself', async () => {
    const { manifest, room: made } = await room({ layers: 6, cycle: 9 }, PLANS[3]!)
    const ids = prompt(12)
    const answer = made.ask('e', question(1, ids, { maxTokens: 80 }))
    await made.run()
    expect(answer.tokens).toEqual(await reference(manifest, ids, 80, GREEDY))
    if (answer.end?.kind !== 'end') throw new Error('the answer failed')
    expect(answer.end.stats.laps).toBeLessThan(40)
    expect(runsOf(made, 'b').some(({ rows }) => rows > 2 && rows < 12)).toBe(true)
  })
})
