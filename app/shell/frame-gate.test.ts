import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { FrameGate, LEAST_MS, MOST_MS } from './frame-gate.ts'

const FRAME_MS = 16
/** When each pass came, ms. */
let passes: number[] = []

beforeEach(() => {
  passes = []
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

/** Times between passes while something changes all the time, and painting takes so long. */
function restsWhere(paintMs: number): number[] {
  vi.stubGlobal('requestAnimationFrame', (draw: () => void) => setTimeout(draw, FRAME_MS))
  vi.stubGlobal('cancelAnimationFrame', clearTimeout)
  const one = new FrameGate(() => {
    passes.push(performance.now())
    vi.advanceTimersByTime(paintMs)
  })
  const changes = setInterval(() => one.open(), 7)
  vi.advanceTimersByTime(20 * LEAST_MS)
  clearInterval(changes)
  return passes.slice(2).map((at, i) => at - (passes[i + 1] ?? 0))
}

test('many changes pass as one, and no two within the least time', () => {
  const rests = restsWhere(0)
  expect(Math.min(...rests)).toBeGreaterThanOrEqual(LEAST_MS)
  expect(Math.max(...rests)).toBeLessThan(1.5 * LEAST_MS)
})

test.each([
  [8, 160],
  [50, MOST_MS],
])('where painting takes %i ms it is done every %i ms', (paintMs, rest) => {
  const rests = restsWhere(paintMs)
  expect(Math.min(...rests)).toBeGreaterThanOrEqual(rest)
  expect(Math.max(...rests)).toBeLessThan(1.5 * rest)
})

test('what a person does shows in the next frame, and once', () => {
  vi.stubGlobal('requestAnimationFrame', (draw: () => void) => setTimeout(draw, FRAME_MS))
  vi.stubGlobal('cancelAnimationFrame', clearTimeout)
  const one = new FrameGate(() => passes.push(performance.now()))
  one.open()
  vi.advanceTimersByTime(FRAME_MS + 1)
  // Before the change that it makes, and behind one that waits already.
  for (const acts of [
    ['hurry', 'open'],
    ['open', 'hurry'],
  ] as const) {
    const at = performance.now()
    const before = passes.length
    for (const act of acts) one[act]()
    vi.advanceTimersByTime(2 * LEAST_MS)
    expect(passes.slice(before)).toEqual([at + FRAME_MS])
  }
})

test('a hidden page gets the last change by a timer, once', () => {
  vi.stubGlobal('requestAnimationFrame', () => 1)
  vi.stubGlobal('cancelAnimationFrame', () => undefined)
  new FrameGate(() => passes.push(performance.now())).open()
  vi.advanceTimersByTime(1000)
  expect(passes).toHaveLength(1)
})
