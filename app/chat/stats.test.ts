import { expect, it } from 'vitest'
import type { Message } from '../room/types.ts'
import { liveWords, statsWords } from './stats.ts'

const answer = (newTokens: number, decodeMs: number): Message => ({
  id: '1',
  role: 'assistant',
  text: 'x',
  state: 'done',
  stats: {
    promptTokens: 9,
    reusedTokens: 0,
    newTokens,
    laps: newTokens - 1,
    prefillMs: 700,
    decodeMs,
    firstTokenMs: 810,
  },
})

it('counts the tokens after the first one over the time that they took', () => {
  expect(statsWords(answer(101, 8000)).replaceAll('\u00a0', ' ')).toBe(
    '13 tokens/s · 810 ms to first word · 101 tokens',
  )
})

it('claims no speed where there is none to measure', () => {
  expect(statsWords(answer(1, 0))).not.toContain('tokens/s')
  expect(statsWords(answer(0, 0))).toBe('')
})

it('says how full the chat is once that matters', () => {
  expect(statsWords(answer(101, 8000), 8192)).not.toContain('%')
  expect(statsWords(answer(101, 8000), 200).replaceAll('\u00a0', ' ')).toContain(
    '55 % of what this chat can hold',
  )
})

it('counts while the answer is written', () => {
  const live = { tokens: 21, ms: 2000, firstTokenMs: 90 }
  const words = liveWords({ ...answer(0, 0), live })
  expect(words.replaceAll('\u00a0', ' ')).toBe('10 tokens/s · 21 tokens')
  expect(liveWords({ ...answer(0, 0), live: { ...live, tokens: 1, ms: 0 } })).toBe('')
})
