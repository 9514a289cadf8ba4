import { expect, it } from 'vitest'
import { InFlight } from './in-flight.ts'

it('counts the sequences of the newest lap, and those that wait', () => {
  const flying = new InFlight()
  expect(flying.count([])).toBe(0)
  expect(flying.count([1, 2])).toBe(2)
  for (const sequence of [1, 2, 3, 1, 2, 3]) flying.stepped(sequence)
  expect(flying.count([])).toBe(3)
  expect(flying.count([3, 4])).toBe(4)
  // 2 has ended: the others go round without it.
  for (const sequence of [1, 3, 1, 3]) flying.stepped(sequence)
  expect(flying.count([])).toBe(2)
  flying.stepped(3)
  expect(flying.count([])).toBe(1)
})
