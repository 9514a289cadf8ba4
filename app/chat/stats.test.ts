import { expect, it } from 'vitest'
import type { Message } from '../room/types.ts'
import { statsWords } from './stats.ts'

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
    '13 tokens/s · 810 ms to the first word · 101 tokens',
  )
})

it('claims no speed where there is none to measure', () => {
  expect(statsWords(answer(1, 0))).not.toContain('tokens/s')
  expect(statsWords(answer(0, 0))).toBe('')
})
