import { expect, it } from 'vitest'
import { SpokenAnswer } from './spoken.ts'

it('says whole sentences, each once, and the rest at the end', () => {
  const spoken = new SpokenAnswer()
  expect(spoken.next('A choir', false)).toBe('')
  expect(spoken.next('A choir sings. To', false)).toBe('A choir sings.')
  expect(spoken.next('A choir sings. Together', false)).toBe('')
  expect(spoken.next('A choir sings. Together', true)).toBe('Together')
  expect(spoken.next('A choir sings. Together', true)).toBe('')
})

it('does not spell out marks, addresses or code', () => {
  const text = 'See **[this](https://a.example)**:\n\n```ts\nlet a = 1.\n```\n'
  expect(new SpokenAnswer().next(text, true)).toBe('See this: (code)')
})

it('waits for the end of a code block', () => {
  const spoken = new SpokenAnswer()
  expect(spoken.next('```ts\nlet a = 1\n', false)).toBe('')
  expect(spoken.next('```ts\nlet a = 1\n```\n', false)).toBe('(code)')
})
