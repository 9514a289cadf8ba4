/** Caches come ahead of the plan that needs them, so that nobody waits when it serves. */
import { describe, expect, it } from 'vitest'
import { KINDS } from './frame.ts'
import { SLICE_HEADER_BYTES } from './slices.ts'
import { reference } from './testing/fake-model.ts'
import { settle, type FakeRoom } from './testing/fake-room.ts'
import { plan, prompt, question as asked, room } from './testing/rooms.ts'
import { GREEDY, type Ask } from './types.ts'

const FIRST = plan(1, ['a', 0, 2], ['b', 2, 4], ['c', 4, 6])
/** A layer from b to c, one from a to b. */
const SECOND = plan(2, ['a', 0, 1], ['b', 1, 3], ['c', 3, 6])
const THIRD = plan(3, ['a', 0, 2], ['b', 2, 4], ['c', 4, 6])
/** Three layers, and the starter. */
const ELSEWHERE = plan(2, ['b', 0, 3], ['c', 3, 6])

/** Rows of 1.6 KB, of which a copy has many. */
const MODEL = { layers: 6, residual: true, cacheWidth: 400, context: 4096 }
const CHUNKS = { chunkRows: 64 }

/** Without guesses: a lap brings one row. */
const question = (sequence: number, ids: number[], maxTokens: number): Ask =>
  asked(sequence, ids, { speculate: false, maxTokens })

/** Until nothing moves, and what waits for time has had it. */
async function rest(made: FakeRoom): Promise<void> {
  for (let i = 0; i < 10; i++) {
    await made.run()
    made.clock.move(500)
  }
}

/** Of the first message of a frame with rows of a cache. */
function rowsIn(
  message: Uint8Array,
): { sequence: number; rows: number; isUrgent: boolean } | null {
  const index = message[4]
  const at = SLICE_HEADER_BYTES
  if (index !== 0 || message[at + 1] !== KINDS.indexOf('kv') + 1) return null
  const view = new DataView(message.buffer, message.byteOffset + at)
  const sequence = view.getUint32(12, true)
  return { sequence, rows: view.getUint16(28, true), isUrgent: message[at + 3] === 1 }
}

describe('rows that a plan needs', () => {
  it('once copied, the cut-over brings only rows that came since', async () => {
    for (const next of [SECOND, ELSEWHERE]) {
      const { manifest, room: made } = await room(MODEL, FIRST, 1, CHUNKS)
      const ask = question(1, prompt(800), 160)
      const answer = made.ask('e', ask)
      await made.run(() => answer.tokens.length >= 2)
      const rows = { ahead: 0, urgent: 0 }
      made.onDeliver = (_, __, message) => {
        const copied = rowsIn(message)
        if (copied) rows[copied.isUrgent ? 'urgent' : 'ahead'] += copied.rows
      }
      await made.prepare(next, FIRST)
      await made.copied(next)
      const layers = next === SECOND ? 2 : 3
      expect(rows.ahead).toBeGreaterThan(layers * 800)
      expect(rows.urgent).toBe(0)
      expect(answer.end).toBeNull()
      made.serve(next)
      await rest(made)
      expect(rows.urgent).toBeGreaterThan(0)
      // A frame has 64 KB at most, and a row 1.6.
      expect(rows.urgent).toBeLessThan(layers * 45)
      expect(answer.tokens).toEqual(await reference(manifest, ask.ids, 160, GREEDY))
    }
  })

  it('what runs is copied first, and only that is waited for', async () => {
    const { room: made } = await room(MODEL, FIRST, 1, CHUNKS)
    const idle = made.ask('e', question(1, prompt(700), 4))
    await made.run(() => idle.end !== null)
    made.clock.move(10_000)
    const answer = made.ask('e', question(2, prompt(300), 300))
    await made.run(() => answer.tokens.length >= 2)
    const bySequence = new Map<number, number>()
    made.onDeliver = (_, __, message) => {
      const { sequence, rows } = rowsIn(message) ?? { sequence: 0, rows: 0 }
      bySequence.set(sequence, (bySequence.get(sequence) ?? 0) + rows)
    }
    await made.prepare(SECOND, FIRST)
    await made.run(() => bySequence.has(1))
    expect(bySequence.get(2) ?? 0).toBeGreaterThan(300)
    await made.copied(SECOND)
    expect(bySequence.get(1)).toBeLessThan(2 * 700)
  })

  it('what cannot come ahead is not waited for', async () => {
    const endings: Record<string, (made: FakeRoom) => unknown> = {
      'the holder is lost': (made) => {
        made.cut('a', 'b')
        made.cut('b', 'c')
      },
      'another plan is prepared': (made) => made.prepare(THIRD, FIRST),
      'it takes too long': (made) => made.clock.move(30_000),
    }
    for (const [name, happen] of Object.entries(endings)) {
      const { room: made } = await room(MODEL, FIRST, 1, CHUNKS)
      const answer = made.ask('e', question(1, prompt(800), 160))
      await made.run(() => answer.tokens.length >= 2)
      await made.prepare(SECOND, FIRST)
      const copied = new Set<string>()
      for (const id of ['b', 'c'])
        void made
          .device(id)
          .ring.copied(SECOND.epoch)
          .then(() => copied.add(id))
      for (let i = 0; i < 20; i++) await made.step()
      expect([...copied], name).toEqual([])
      await happen(made)
      await settle()
      expect([...copied].sort(), name).toEqual(['b', 'c'])
    }
  })

  it('a chunk does not wait for what is on its way in the background', async () => {
    const { manifest, room: made } = await room(MODEL, FIRST, 1, CHUNKS)
    const answer = made.ask('e', question(1, prompt(300), 30))
    await made.run(() => answer.tokens.length >= 2)
    await made.prepare(SECOND, FIRST)
    made.isLost = (_, __, message) => rowsIn(message)?.isUrgent === false
    for (let i = 0; i < 20; i++) await made.step()
    made.serve(SECOND)
    await made.run()
    expect(answer.tokens).toEqual(await reference(manifest, prompt(300), 30, GREEDY))
  })
})
