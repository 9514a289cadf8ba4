import { expect, it } from 'vitest'
import type { Message, RoomView } from '../room/types.ts'
import { deviceView, roomView } from '../room/testing/views.ts'
import { MOST_SAMPLES, RoomLog, SAMPLE_MS, speedWords } from './room-log.ts'

const devices = [deviceView({ id: 'a', stageMs: 20 }), deviceView({ id: 'b' })]

function writing(tokens: number, ms: number, id = 'm1'): RoomView {
  const live = { tokens, ms, firstTokenMs: 5 }
  const message: Message = { id, role: 'assistant', text: 'x', state: 'streaming', live }
  return roomView({ devices, messages: [message] })
}
const rates = (log: RoomLog) => log.samples.map(({ tokensPerSecond }) => tokensPerSecond)

it('takes one sample a second, with what was measured', () => {
  const log = new RoomLog()
  log.add(writing(11, 1000), 0)
  log.add(writing(12, 1100), SAMPLE_MS - 1)
  log.add(writing(31, 2000), SAMPLE_MS)
  expect(rates(log)).toEqual([10, 20])
  expect([...(log.samples[0]?.stages ?? [])]).toEqual([['a', 20]])
})

it('begins anew with another answer, and claims nothing between answers', () => {
  const log = new RoomLog()
  log.add(writing(11, 1000), 0)
  log.add(roomView({ devices }), 1000)
  log.add(writing(5, 500, 'm2'), 2000)
  expect(rates(log)).toEqual([10, null, 8])
})

it('takes an answer that ended between two samples once, as a whole', () => {
  const log = new RoomLog()
  const stats = {
    ...{ promptTokens: 3, reusedTokens: 0, newTokens: 11, prefillMs: 5 },
    ...{ decodeMs: 500, laps: 10, firstTokenMs: 5 },
  }
  const message = {
    id: 'm1',
    role: 'assistant',
    text: 'x',
    state: 'done',
    stats,
  } as const
  for (const now of [0, 1000]) log.add(roomView({ devices, messages: [message] }), now)
  expect(rates(log)).toEqual([20, null])
})

it("goes by the laps while others' answers are written", () => {
  const log = new RoomLog()
  log.add(roomView({ lapMs: 50, othersAsking: 1 }), 0)
  log.add(roomView({ lapMs: 50 }), 1000)
  expect(rates(log)).toEqual([20])
})

it('lets the oldest go', () => {
  const log = new RoomLog()
  for (let i = 0; i < MOST_SAMPLES + 5; i += 1) log.add(roomView({ devices }), i * 1000)
  expect([log.samples.length, log.samples[0]?.at]).toEqual([MOST_SAMPLES, 5000])
})

it('says the picture in words', () => {
  const log = new RoomLog()
  expect(speedWords(log.samples)).toBe('No answer was written yet.')
  log.add(writing(11, 1000), 0)
  log.add(writing(36, 2000), 1000)
  expect(speedWords(log.samples)).toBe(
    'Tokens per second: last 25, lowest 10, highest 25.',
  )
})
