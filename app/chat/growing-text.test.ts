import { expect, it } from 'vitest'
import * as fc from 'fast-check'
import { blocks, toHtml } from './markdown.ts'
import { GrowingText } from './growing-text.ts'

const answer = `Here you are:

1. First
2. Second

   with more

3. Third

\`\`\`ts
const a = 1

const b = 2
\`\`\`

| a | b |
|---|---|
| 1 | 2 |

Title
=====

> quote

The end.`

function grow(text: string, cuts: readonly number[]): { html: string; looked: number } {
  let looked = 0
  const growing = new GrowingText((part) => {
    looked += part.length
    return blocks(part)
  })
  let settled = ''
  for (const cut of [...cuts, text.length]) {
    const ended = cut === text.length
    const growth = growing.update(text.slice(0, cut), ended)
    if (growth.restart) settled = ''
    settled += toHtml([...growth.settled])
    if (ended) settled += toHtml([...growth.open])
  }
  return { html: settled, looked }
}

it('shows the same however the text arrives', () => {
  const whole = toHtml(blocks(answer))
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: answer.length - 1 }), { maxLength: 60 }),
      (cuts) => {
        const { html } = grow(
          answer,
          cuts.sort((a, b) => a - b),
        )
        expect(html.replace(/\s+/g, ' ')).toBe(whole.replace(/\s+/g, ' '))
      },
    ),
    { numRuns: 300 },
  )
})

it('does not look at settled blocks again', () => {
  const text = Array.from({ length: 200 }, (_, i) => `Paragraph ${i} of many.`).join(
    '\n\n',
  )
  const every = Array.from({ length: text.length - 1 }, (_, i) => i + 1)
  expect(grow(text, every).looked / text.length).toBeLessThan(60)
})

it('starts anew when the text was replaced', () => {
  const growing = new GrowingText(blocks)
  growing.update('One\n\nTwo\n\nThree', false)
  const growth = growing.update('Other', false)
  expect(growth.restart).toBe(true)
  expect([...growth.settled, ...growth.open].map(({ raw }) => raw)).toEqual(['Other'])
})
