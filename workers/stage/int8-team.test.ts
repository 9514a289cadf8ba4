import { afterAll, describe, expect, it } from 'vitest'
import { allocate, heap } from './heap-module.ts'
import { Int8Matrix } from './int8-matrix.ts'
import { Int8Team } from './int8-team.ts'
import { nodeHelpers } from './testing/node-helpers.ts'
import { nodeRuntime } from './testing/node-runtime.ts'

const runtime = await nodeRuntime()
const alone = await Int8Team.start(runtime)
const team = await Int8Team.start(runtime, nodeHelpers(2))
afterAll(() => {
  team.close()
  alone.close()
})

function random(seed: number): () => number {
  let state = seed
  return () => (state = (state * 48271) % 2147483647) / 2147483647
}

function matrixOf(k: number, n: number, by: Int8Team): Int8Matrix {
  const next = random(7 * k + n)
  const q = Uint8Array.from({ length: k * n }, () => Math.floor(next() * 256))
  const scales = Float32Array.from({ length: (k / 32) * n }, () => next() - 0.5)
  return new Int8Matrix(runtime, by, {
    k,
    n,
    block: 32,
    q,
    scales: new Uint8Array(scales.buffer),
  })
}

function product(matrix: Int8Matrix, rows: number, seed: number): Buffer {
  const { k, n } = matrix
  const next = random(seed)
  const x = allocate(runtime, 4 * rows * k)
  const y = allocate(runtime, 4 * rows * n)
  const values = Float32Array.from({ length: rows * k }, () => next() - 0.5)
  heap(runtime).set(new Uint8Array(values.buffer), x)
  heap(runtime).fill(255, y, y + 4 * rows * n)
  matrix.multiply([{ x, y, rows }])
  const found = Buffer.from(heap(runtime).slice(y, y + 4 * rows * n))
  runtime._free(x)
  runtime._free(y)
  return found
}

describe('a team of threads', () => {
  it('computes the same bits as one thread, product after product', () => {
    const shapes = [
      [576, 1536, 1],
      [1536, 576, 1],
      [32, 16, 1],
      [576, 192, 1],
      [576, 1536, 37],
      [64, 16, 3],
      [1536, 576, 70],
    ] as const
    const pairs = shapes.map(([k, n, rows]) => ({
      shared: matrixOf(k, n, team),
      own: matrixOf(k, n, alone),
      rows,
    }))
    for (let round = 1; round <= 5; round++)
      for (const { shared, own, rows } of pairs)
        expect(product(shared, rows, round).equals(product(own, rows, round))).toBe(true)
    for (const { shared, own } of pairs) {
      shared.free()
      own.free()
    }
  })

  it('has helpers that take their share', async () => {
    const matrix = matrixOf(1536, 576, team)
    for (let seed = 1; team.helped === 0; seed++) {
      product(matrix, 64, seed)
      // Threads start between two of our own tasks.
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(team.helped).toBeGreaterThan(0)
    matrix.free()
  })
})
