import { expect, test } from 'vitest'
import { Pace, REST_MS } from './pace.ts'

const at = (msPerLayer: number) => ({ mode: 'lean' as const, msPerLayer })

test('slowness is against the best of the same form, at work', () => {
  const pace = new Pace()
  expect(pace.loaded(at(1), false, 0)).toBe(1)
  pace.worked(at(3), 0)
  expect(pace.slowdown).toBe(1)
  pace.worked(at(2), 0)
  pace.worked(at(6), 0)
  expect(pace.slowdown).toBe(3)
  pace.worked({ mode: 'packed', msPerLayer: 20 }, 0)
  expect(pace.slowdown).toBe(1)
})

test('what was measured at work counts more than what loading says', () => {
  const pace = new Pace()
  pace.loaded(at(1), false, 0)
  pace.worked(at(3), 0)
  expect(pace.loaded(at(2), true, 0)).toBe(3)
  expect(pace.slowdown).toBe(1)
  // Dealt in again, it loads twice as slowly as the first time.
  expect(pace.loaded(at(2), false, 0)).toBe(6)
  expect(pace.slowdown).toBe(2)
})

test('a slow device rests, and each time longer', () => {
  const pace = new Pace()
  pace.worked(at(2), 0)
  expect(pace.rest(1e9)).toBeNull()
  pace.worked(at(8), 1000)
  expect(pace.rest(1000 + REST_MS - 1)).toBeNull()
  expect(pace.rest(1000 + REST_MS)).toEqual(at(2))
  expect(pace.slowdown).toBe(1)
  expect(pace.rest(1e9)).toBeNull()
  pace.worked(at(8), 0)
  expect(pace.rest(REST_MS)).toBeNull()
  expect(pace.rest(2 * REST_MS)).toEqual(at(2))
})
