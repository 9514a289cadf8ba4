import { expect, it } from 'vitest'
import { roomView } from '../room/testing/views.ts'
import { waitingWords } from './waiting.ts'

it('says what a question waits for', () => {
  expect(waitingWords(roomView())).toBe('Reading your question …')
  expect(waitingWords(roomView({ othersAsking: 1 }))).toMatch(/Somebody else is asking/)
  expect(waitingWords(roomView({ othersAsking: 3 }))).toMatch(/3 others are asking/)
  expect(waitingWords(roomView({ status: { kind: 'preparing' } }))).toMatch(
    /getting ready/,
  )
  const short = { kind: 'short', missingBytes: 8e8 } as const
  expect(waitingWords(roomView({ status: short })).replaceAll('\u00a0', ' ')).toMatch(
    /lack 0\.8 GB of memory\. Invite/,
  )
})
