import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { allocate, heap } from './heap-module.ts'
import { Int8Matrix } from './int8-matrix.ts'
import { nodeRuntime } from './testing/node-runtime.ts'

const runtime = await nodeRuntime()

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

describe('products with an int8 matrix', () => {
  it('are those with the dequantised one, for any shape and number of rows', async () => {
    const shapes = fc.record({
      block: fc.constantFrom(16, 32, 64, 128),
      blocks: fc.integer({ min: 1, max: 4 }),
      panels: fc.integer({ min: 1, max: 5 }),
      rows: fc.integer({ min: 0, max: 70 }),
      seed: fc.integer({ min: 1, max: 2 ** 31 - 2 }),
    })
    await fc.assert(
      fc.asyncProperty(shapes, async (shape) => {
        const { rows } = shape
        const given = source(shape)
        const { k, n } = given
        const matrix = await Int8Matrix.open(runtime, given)
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
            let size = 0
            for (let i = 0; i < k; i++) {
              const term = (values[row * k + i] ?? 0) * given.weight(i, column)
              sum += term
              size += Math.abs(term)
            }
            expect(Math.abs((found[row * n + column] ?? NaN) - sum)).toBeLessThan(
              1e-6 * size + 1e-6,
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

  it('do not depend on the rows beside them', async () => {
    const shapes = fc.record({
      block: fc.constantFrom(16, 32, 64, 128),
      blocks: fc.integer({ min: 1, max: 4 }),
      panels: fc.integer({ min: 1, max: 5 }),
      rows: fc.integer({ min: 2, max: 40 }),
      seed: fc.integer({ min: 1, max: 2 ** 31 - 2 }),
    })
    await fc.assert(
      fc.asyncProperty(shapes, async (shape) => {
        const { rows } = shape
        const given = source(shape)
        const { k, n } = given
        const matrix = await Int8Matrix.open(runtime, given)
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

  it('gives columns back as they were', async () => {
    const given = source({ block: 32, blocks: 3, panels: 3, rows: 0, seed: 5 })
    const matrix = await Int8Matrix.open(runtime, given)
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
