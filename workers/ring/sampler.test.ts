import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { random, sample } from './sampler.ts'
import { GREEDY, type Sampling } from './types.ts'

/** Ids that may be chosen with their probability; straight from the definitions, by sorting. */
function candidates(input: readonly number[], s: Sampling, ids: readonly number[]) {
  const penalized = Float32Array.from(input, (logit, id) =>
    ids.includes(id)
      ? logit > 0
        ? logit / s.repetitionPenalty
        : logit * s.repetitionPenalty
      : logit,
  )
  const sorted = [...penalized.entries()].sort(([a, x], [b, y]) => y - x || a - b)
  const best = sorted.slice(0, s.topK === 0 ? sorted.length : s.topK)
  const top = best[0]![1]
  const weighed = best.map(([id, x]) => ({
    id,
    weight: Math.exp((x - top) / s.temperature),
  }))
  // Summed by id, so that rounding is the same where a sum falls on the border exactly.
  const byId = weighed.toSorted((a, b) => a.id - b.id)
  const total = byId.reduce((sum, { weight }) => sum + weight, 0)
  const kept: typeof weighed = []
  let sum = 0
  for (const entry of weighed) {
    kept.push(entry)
    sum += entry.weight
    if (s.topP < 1 && sum >= s.topP * total) break
  }
  return kept.sort((a, b) => a.id - b.id)
}

const logitsOf = fc.array(fc.double({ min: -8, max: 8, noNaN: true }), {
  minLength: 1,
  maxLength: 60,
})
const sampling = fc.record({
  temperature: fc.double({ min: 0.05, max: 3, noNaN: true }),
  topK: fc.nat(70),
  topP: fc.constantFrom(1, 0.95, 0.5, 0.1, 0),
  repetitionPenalty: fc.constantFrom(1, 1.3, 0.8),
  seed: fc.maxSafeNat(),
})

describe('sampling', () => {
  it('draws what the slow definition draws', () => {
    fc.assert(
      fc.property(
        logitsOf,
        sampling,
        fc.array(fc.nat(60)),
        fc.nat(1000),
        (input, s, ids, index) => {
          const rounded = input.map(Math.fround)
          const kept = candidates(rounded, s, ids)
          const mass = kept.reduce((sum, { weight }) => sum + weight, 0)
          const point = random(s.seed, index) * mass
          let before = 0
          const id = sample(Float32Array.from(rounded), s, ids, index)
          const found = kept.find((entry) => entry.id === id)
          expect(found).toBeDefined()
          for (const entry of kept) {
            if (entry.id === id) break
            before += entry.weight
          }
          const slack = 1e-9 * mass
          expect(point).toBeGreaterThanOrEqual(before - slack)
          expect(point).toBeLessThanOrEqual(before + (found?.weight ?? 0) + slack)
        },
      ),
      { numRuns: 3000, seed: 1 },
    )
  })

  it('greedy takes the lowest of the best ids, after the penalty', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 1 }),
        (input) => {
          const best = input.indexOf(Math.max(...input))
          expect(sample(Float32Array.from(input), GREEDY, [], 3)).toBe(best)
          expect(
            sample(
              Float32Array.from(input),
              { ...GREEDY, temperature: 2, topK: 1 },
              [],
              3,
            ),
          ).toBe(best)
        },
      ),
    )
    const s = { ...GREEDY, repetitionPenalty: 2 }
    expect(sample(Float32Array.of(3, 2, 1), s, [0, 0], 0)).toBe(1)
    expect(sample(Float32Array.of(-1, -1.5), s, [0], 0)).toBe(1)
  })

  it('depends on seed and index alone', () => {
    const s = { temperature: 1, topK: 0, topP: 0.99, repetitionPenalty: 1, seed: 7 }
    const draw = (seed: number) =>
      Array.from({ length: 40 }, (_, i) =>
        sample(
          Float32Array.from({ length: 50 }, (_, id) => Math.sin(id)),
          { ...s, seed },
          [],
          i,
        ),
      )
    expect(draw(7)).toEqual(draw(7))
    expect(draw(7)).not.toEqual(draw(8))
    expect(draw(7)).not.toEqual(draw(7 + 2 ** 32))
    expect(new Set(draw(7)).size).toBeGreaterThan(10)
  })

  it('draws as often as the probabilities say', () => {
    const s = { temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1, seed: 3 }
    const logits = [0, Math.log(2), Math.log(5)]
    const counts = [0, 0, 0]
    for (let i = 0; i < 80_000; i++)
      counts[sample(Float32Array.from(logits), s, [], i)]!++
    for (const [i, share] of [1, 2, 5].entries())
      expect(Math.abs(counts[i]! / 80_000 - share / 8)).toBeLessThan(0.01)
  })

  it('a large list is cut to the same best ids either way', () => {
    const logits = Float32Array.from({ length: 2000 }, (_, id) =>
      Math.fround(Math.sin(id * 7)),
    )
    for (const topK of [5, 511, 512, 513, 700]) {
      const s = { temperature: 50, topK, topP: 1, repetitionPenalty: 1, seed: 3 }
      const kept = candidates([...logits], s, [])
      const ids = new Set(kept.map(({ id }) => id))
      for (let i = 0; i < 300; i++)
        expect(ids.has(sample(logits.slice(), s, [], i))).toBe(true)
    }
  })

  it('logits without a number are an error; single ones are passed over', () => {
    const hot = { ...GREEDY, temperature: 1 }
    expect(() => sample(Float32Array.of(NaN, NaN), GREEDY, [], 0)).toThrow(
      /no usable result/,
    )
    expect(() => sample(Float32Array.of(-Infinity), hot, [], 0)).toThrow(
      /no usable result/,
    )
    expect(sample(Float32Array.of(NaN, 1, -Infinity), hot, [], 0)).toBe(1)
    expect(sample(Float32Array.of(1, Infinity), hot, [], 0)).toBe(1)
  })
})
