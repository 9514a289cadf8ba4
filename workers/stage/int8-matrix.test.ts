import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { allocate, heap } from './heap-module.ts'
import { Int8Team } from './int8-team.ts'
import { Int8Matrix } from './int8-matrix.ts'
import { nodeRuntime } from './testing/node-runtime.ts'

const runtime = await nodeRuntime()
const team = await Int8Team.start(runtime)

interface Shape {
  readonly block: number
  readonly blocks: number
  readonly panels: number
  readonly rows: number
  readonly seed: number
}

function source({ block, blocks, panels, seed }: Shape) {
  const [k, n] = [block * blocks, 16 * panels]
  let state = seed
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647
  const q = Int8Array.from({ length: k * n }, () => Math.floor(random() * 256) - 128)
  const scales = Float32Array.from({ length: blocks * n }, () => random() - 0.5)
  const weight = (row: number, column: number): number =>
    (q[row * n + column] ?? 0) * (scales[Math.floor(row / block) * n + column] ?? 0)
  const bytes = { q: new Uint8Array(q.buffer), scales: new Uint8Array(scales.buffer) }
  return { k, n, block, ...bytes, integers: q, scale: scales, weight, random }
}

const total = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0)

describe('products with an int8 matrix', () => {
  it('are those with the dequantised one, for any shape and number of rows', () => {
    const shapes = fc.record({
      block: fc.constantFrom(16, 32, 64, 128),
      blocks: fc.integer({ min: 1, max: 4 }),
      panels: fc.integer({ min: 1, max: 5 }),
      rows: fc.integer({ min: 0, max: 70 }),
      seed: fc.integer({ min: 1, max: 2 ** 31 - 2 }),
    })
    fc.assert(
      fc.property(shapes, (shape) => {
        const { rows } = shape
        const given = source(shape)
        const { k, n, block } = given
        const matrix = new Int8Matrix(runtime, team, given)
        const values = Float32Array.from({ length: rows * k }, () => given.random() - 0.5)
        const x = allocate(runtime, 4 * rows * k)
        const y = allocate(runtime, 4 * (rows * n + 1))
        const guard = new Uint8Array(Float32Array.of(1234.5).buffer)
        heap(runtime).set(new Uint8Array(values.buffer), x)
        heap(runtime).set(guard, y + 4 * rows * n)
        matrix.multiply([{ x, y, rows }])
        const found = new Float32Array(
          heap(runtime).slice(y, y + 4 * (rows * n + 1)).buffer,
        )
        for (let row = 0; row < rows; row++)
          for (let column = 0; column < n; column++) {
            let sum = 0
            let error = 0
            for (let b = 0; b < k / block; b++) {
              const within = Array.from({ length: block }, (_, i) => b * block + i)
              const xs = within.map((i) => values[row * k + i] ?? 0)
              const terms = within.map((i, at) => (xs[at] ?? 0) * given.weight(i, column))
              sum += total(terms)
              // Half a step of int16 for each value, and what float32 cannot hold.
              const step = Math.max(...xs.map(Math.abs)) / 32767
              error +=
                (step / 2) * total(within.map((i) => Math.abs(given.weight(i, column))))
              error += 1e-6 * total(terms.map(Math.abs))
            }
            expect(Math.abs((found[row * n + column] ?? NaN) - sum)).toBeLessThan(
              error + 1e-6,
            )
          }
        expect(found[rows * n]).toBe(1234.5)
        matrix.free()
        runtime._free(x)
        runtime._free(y)
      }),
      { numRuns: 40 },
    )
  })

  it('do not depend on the rows beside them', () => {
    const shapes = fc.record({
      block: fc.constantFrom(16, 32, 64, 128),
      blocks: fc.integer({ min: 1, max: 4 }),
      panels: fc.integer({ min: 1, max: 5 }),
      rows: fc.integer({ min: 2, max: 40 }),
      seed: fc.integer({ min: 1, max: 2 ** 31 - 2 }),
    })
    fc.assert(
      fc.property(shapes, (shape) => {
        const { rows } = shape
        const given = source(shape)
        const { k, n } = given
        const matrix = new Int8Matrix(runtime, team, given)
        const values = Float32Array.from({ length: rows * k }, () =>
          given.random() < 0.1 ? -0 : given.random() - 0.5,
        )
        const x = allocate(runtime, 4 * rows * k)
        heap(runtime).set(new Uint8Array(values.buffer), x)
        const [atOnce, apart, alone] = [0, 1, 2].map(() =>
          allocate(runtime, 4 * rows * n),
        ) as [number, number, number]
        const each = (y: number) =>
          Array.from({ length: rows }, (_, row) => ({
            x: x + 4 * k * row,
            y: y + 4 * n * row,
            rows: 1,
          }))
        matrix.multiply([{ x, y: atOnce, rows }])
        matrix.multiply(each(apart))
        for (const one of each(alone)) matrix.multiply([one])
        const bits = (y: number) => heap(runtime).slice(y, y + 4 * rows * n)
        expect(bits(atOnce)).toEqual(bits(alone))
        expect(bits(apart)).toEqual(bits(alone))
        matrix.free()
        for (const address of [x, atOnce, apart, alone]) runtime._free(address)
      }),
      { numRuns: 40 },
    )
  })

  it('lets what is not a number be seen', () => {
    const given = source({ block: 32, blocks: 2, panels: 1, rows: 1, seed: 3 })
    const matrix = new Int8Matrix(runtime, team, given)
    const x = allocate(runtime, 4 * given.k)
    const y = allocate(runtime, 4 * given.n)
    for (const broken of [NaN, Infinity, -Infinity]) {
      const values = new Float32Array(given.k).fill(0.5)
      values[40] = broken
      heap(runtime).set(new Uint8Array(values.buffer), x)
      matrix.multiply([{ x, y, rows: 1 }])
      const found = new Float32Array(heap(runtime).slice(y, y + 4 * given.n).buffer)
      expect(found.every((value) => !Number.isFinite(value))).toBe(true)
    }
  })

  it('gives columns back as they were', () => {
    const given = source({ block: 32, blocks: 3, panels: 3, rows: 0, seed: 5 })
    const matrix = new Int8Matrix(runtime, team, given)
    const indices = [0, 47, 17, 17]
    const { q, scales } = matrix.columns(indices)
    const found = new Float32Array(scales.buffer)
    for (const [i, column] of indices.entries()) {
      for (let row = 0; row < given.k; row++)
        expect((q[i * given.k + row] ?? 0) - 128).toBe(
          given.integers[row * given.n + column],
        )
      for (let b = 0; b < 3; b++)
        expect(found[3 * i + b]).toBe(given.scale[b * given.n + column])
    }
    matrix.free()
  })
})
