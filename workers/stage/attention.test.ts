import fc from 'fast-check'
import { expect, it } from 'vitest'
import { attend, attendedDims, type AttentionInputs } from './attention.ts'
import { loadAttentionKernel } from './attention-kernel.ts'
import {
  createTensor,
  disposeTensor,
  download,
  upload,
  type HeapTensor,
} from './heap-session.ts'
import { nodeRuntime } from './testing/node-runtime.ts'

const runtime = await nodeRuntime()
const kernel = await loadAttentionKernel(runtime.memory)

const cases = fc.record({
  kvHeads: fc.integer({ min: 1, max: 3 }),
  group: fc.integer({ min: 1, max: 3 }),
  width: fc.constantFrom(16, 32, 64, 80, 128),
  rows: fc.integer({ min: 1, max: 9 }),
  past: fc.integer({ min: 0, max: 40 }),
  spare: fc.integer({ min: 0, max: 5 }),
  turning: fc.constantFrom('none', 'half', 'all'),
  interleaved: fc.boolean(),
  packed: fc.boolean(),
  scale: fc.constantFrom(0, 0.3),
  size: fc.constantFrom(0.1, 3, 30),
  seed: fc.integer({ min: 1, max: 2 ** 31 - 2 }),
})
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never

function random(seed: number): () => number {
  let state = seed
  return () => (state = (state * 48271) % 2147483647) / 2147483647 - 0.5
}

interface Given {
  readonly query: Float32Array
  readonly key: Float32Array
  readonly value: Float32Array
  readonly keys: Float32Array
  readonly values: Float32Array
  readonly cos: Float32Array
  readonly sin: Float32Array
}

/** As the operator is described, in double precision. */
function expected(one: Case, given: Given): Float64Array {
  const { kvHeads, group, width, rows, past, spare, interleaved } = one
  const capacity = past + rows + spare
  const heads = kvHeads * group
  const half = halfOf(one)
  const turn = (from: Float32Array, at: number, position: number): number[] => {
    const head = Array.from(from.subarray(at, at + width))
    const turned = [...head]
    for (let i = 0; i < half; i++) {
      const [a, b] = interleaved ? [2 * i, 2 * i + 1] : [i, i + half]
      const c = given.cos[position * half + i] ?? 0
      const s = given.sin[position * half + i] ?? 0
      turned[a] = (head[a] ?? 0) * c - (head[b] ?? 0) * s
      turned[b] = (head[b] ?? 0) * c + (head[a] ?? 0) * s
    }
    return turned
  }
  const keyAt = (head: number, row: number): number[] =>
    row < past
      ? Array.from(
          given.keys.subarray((head * capacity + row) * width).subarray(0, width),
        )
      : turn(given.key, ((row - past) * kvHeads + head) * width, row)
  const valueAt = (head: number, row: number): Float32Array =>
    row < past
      ? given.values.subarray((head * capacity + row) * width)
      : given.value.subarray(((row - past) * kvHeads + head) * width)
  const result = new Float64Array(rows * heads * width)
  for (let row = 0; row < rows; row++)
    for (let head = 0; head < heads; head++) {
      const own = Math.floor(head / group)
      const q = turn(given.query, (row * heads + head) * width, past + row)
      const scores = Array.from({ length: past + row + 1 }, (_, other) => {
        const k = keyAt(own, other)
        const dot = q.reduce((sum, value, i) => sum + value * (k[i] ?? 0), 0)
        return dot * (one.scale || 1 / Math.sqrt(width))
      })
      const most = Math.max(...scores)
      const powers = scores.map((score) => Math.exp(score - most))
      const total = powers.reduce((sum, power) => sum + power, 0)
      for (const [other, power] of powers.entries())
        for (let i = 0; i < width; i++)
          result[(row * heads + head) * width + i] =
            (result[(row * heads + head) * width + i] ?? 0) +
            (power / total) * (valueAt(own, other)[i] ?? 0)
    }
  return result
}

function halfOf({ turning, width }: Case): number {
  return turning === 'none' ? 0 : turning === 'all' ? width / 2 : width / 4
}

const tensor = (values: Float32Array, dims: number[]): HeapTensor =>
  upload(runtime, { dtype: 'float32', dims, bytes: new Uint8Array(values.buffer) })

function pack({ query, key, value }: Given, rows: number): Float32Array {
  const [q, kv] = [query.length / rows, key.length / rows]
  return Float32Array.from(
    Array.from({ length: rows }, (_, row) => [
      ...query.subarray(row * q, (row + 1) * q),
      ...key.subarray(row * kv, (row + 1) * kv),
      ...value.subarray(row * kv, (row + 1) * kv),
    ]).flat(),
  )
}

it('is what the operator is described to be, for any shape', () => {
  fc.assert(
    fc.property(cases, (one) => {
      const { kvHeads, group, width, rows, past, spare, packed, size } = one
      const heads = kvHeads * group
      const capacity = past + rows + spare
      const next = random(one.seed)
      const fill = (length: number, by: number = size) =>
        Float32Array.from({ length }, () => next() * by)
      const half = halfOf(one)
      const angles = fill(capacity * half, 6)
      const given: Given = {
        query: fill(rows * heads * width),
        key: fill(rows * kvHeads * width),
        value: fill(rows * kvHeads * width),
        keys: fill(kvHeads * capacity * width),
        values: fill(kvHeads * capacity * width),
        cos: angles.map(Math.cos),
        sin: angles.map(Math.sin),
      }
      // What lies behind the rows of a cache is of no account.
      for (let head = 0; head < kvHeads; head++)
        for (const cache of [given.keys, given.values])
          cache.fill(NaN, (head * capacity + past) * width, (head + 1) * capacity * width)
      const wanted = expected(one, given)
      const cache = [1, kvHeads, capacity, width]
      const last = Int32Array.of(past + rows - 1)
      const inputs: AttentionInputs = {
        query: packed
          ? tensor(pack(given, rows), [1, rows, (heads + 2 * kvHeads) * width])
          : tensor(given.query, [1, rows, heads * width]),
        key: packed ? null : tensor(given.key, [1, rows, kvHeads * width]),
        value: packed ? null : tensor(given.value, [1, rows, kvHeads * width]),
        keys: tensor(given.keys, cache),
        values: tensor(given.values, cache),
        last: upload(runtime, {
          dtype: 'int32',
          dims: [1],
          bytes: new Uint8Array(last.buffer),
        }),
        cos: half > 0 ? tensor(given.cos, [capacity, half]) : null,
        sin: half > 0 ? tensor(given.sin, [capacity, half]) : null,
      }
      const { scale, interleaved } = one
      const shape = { heads, kvHeads, scale, interleaved }
      const dims = attendedDims(inputs, shape)
      const output = createTensor(runtime, 'float32', dims, 4 * rows * heads * width)
      attend(runtime, kernel, inputs, shape, output.address)
      const found = new Float32Array(download(runtime, output).bytes.buffer)
      const { query, key, value, keys, values, last: end, cos, sin } = inputs
      for (const each of [query, key, value, keys, values, end, cos, sin, output])
        if (each !== null) disposeTensor(runtime, each)
      // Scores of `size` squared times the width err by 2^-24 of themselves.
      const tolerance = size * (2e-6 + 2e-7 * size * size * Math.sqrt(width))
      expect(found).toHaveLength(wanted.length)
      for (const [i, value] of wanted.entries())
        expect(Math.abs((found[i] ?? NaN) - value)).toBeLessThan(tolerance)
    }),
    { numRuns: 150 },
  )
})

it('refuses shapes that do not fit, and writes nothing', () => {
  const row = (width: number) => tensor(new Float32Array(width).fill(1), [1, 1, width])
  const inputs: AttentionInputs = {
    query: row(32),
    key: row(16),
    value: row(16),
    keys: tensor(new Float32Array(64), [1, 1, 4, 16]),
    values: tensor(new Float32Array(64), [1, 1, 4, 16]),
    last: upload(runtime, {
      dtype: 'int32',
      dims: [1],
      bytes: new Uint8Array([4, 0, 0, 0]),
    }),
    cos: null,
    sin: null,
  }
  const shape = { heads: 2, kvHeads: 1, scale: 0, interleaved: false }
  const output = createTensor(runtime, 'float32', [1, 1, 32], 128)
  expect(() => {
    attend(runtime, kernel, inputs, shape, output.address)
  }).toThrow('other shapes')
  expect(download(runtime, inputs.keys).bytes.every((byte) => byte === 0)).toBe(true)
})
