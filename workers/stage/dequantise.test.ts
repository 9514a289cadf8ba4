import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { WeightBlob } from '../../model-split/manifest.ts'
import { deriveDense, deriveLean } from './dequantise.ts'

interface Shape {
  bits: 4 | 8
  block: number
  k: number
  n: number
  withZeros: boolean
  /** Shifts the blob so that its float32 parts are not aligned. */
  shift: number
  seed: number
}

const shapes = fc.record({
  bits: fc.constantFrom<4 | 8>(4, 8),
  block: fc.constantFrom(16, 32),
  k: fc.integer({ min: 1, max: 100 }),
  n: fc.integer({ min: 1, max: 40 }),
  withZeros: fc.boolean(),
  shift: fc.constantFrom(0, 3),
  seed: fc.integer({ min: 1, max: 2 ** 31 - 2 }),
})

/** A random matrix in packed form, and a getter for its integers, zeros and scales. */
function packedMatrix(shape: Shape) {
  const { bits, block, k, n, withZeros, shift } = shape
  const blocks = Math.ceil(k / block)
  let seed = shape.seed
  const random = () => (seed = (seed * 48271) % 2147483647)
  const qBytes = (n * blocks * block * bits) / 8
  const zeroRow = Math.ceil((blocks * bits) / 8)
  const q = shift
  const scales = q + qBytes
  const zeros = scales + 4 * n * blocks
  const packed = new Uint8Array(zeros + n * zeroRow)
  for (let i = q; i < q + qBytes; i++) packed[i] = random()
  const view = new DataView(packed.buffer)
  for (let i = 0; i < n * blocks; i++)
    view.setFloat32(scales + 4 * i, (random() % 1000) / 500 - 1, true)
  // Eight-bit zeros stay near the middle, so that the difference fits an int8.
  for (let i = zeros; i < packed.length; i++) packed[i] = bits === 8 ? 128 : random()
  const part = (offset: number, index: number) => {
    if (bits === 8) return packed[offset + index]!
    const byte = packed[offset + (index >> 1)]!
    return index % 2 ? byte >> 4 : byte % 16
  }
  const integer = (row: number, column: number) => {
    const b = Math.floor(row / block)
    const blockBytes = (block * bits) / 8
    const value = part(q + (column * blocks + b) * blockBytes, row % block)
    return value - (withZeros ? part(zeros + column * zeroRow, b) : 2 ** (bits - 1))
  }
  const scale = (row: number, column: number) =>
    view.getFloat32(scales + 4 * (column * blocks + Math.floor(row / block)), true)
  const leanScales = Math.ceil((k * n) / 4) * 4
  const blob: WeightBlob = {
    bytes: packed.length,
    shards: [],
    tensors: [],
    quantised: [
      {
        ...{ name: 'w', bits, block, k, n, q, scales },
        zeros: withZeros ? zeros : null,
        dense: 64,
        lean: { q: 0, scales: leanScales },
      },
    ],
    denseBytes: 64 + 4 * k * n,
    leanBytes: leanScales + 4 * blocks * n,
    forms: { packed: ['packed'], dense: ['dense'], lean: ['lean'] },
    resident: { packed: 0, dense: 0, lean: 0 },
  }
  return { blob, packed, integer, scale, leanScales }
}

describe('derived weights', () => {
  it('dense is (q - zero) * scale, transposed', () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        const { blob, packed, integer, scale } = packedMatrix(shape)
        const dense = new Float32Array(deriveDense(blob, packed).buffer, 64)
        for (let row = 0; row < shape.k; row++)
          for (let column = 0; column < shape.n; column++)
            expect(dense[row * shape.n + column]).toBe(
              Math.fround(integer(row, column) * scale(row, column)),
            )
      }),
    )
  })

  it('lean keeps the integers and the scales', () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        const { blob, packed, integer, scale, leanScales } = packedMatrix(shape)
        const { k, n, block } = shape
        const lean = deriveLean(blob, packed)
        const integers = new Int8Array(lean.buffer, 0, k * n)
        const scales = new Float32Array(lean.buffer, leanScales)
        for (let row = 0; row < k; row++)
          for (let column = 0; column < n; column++) {
            expect(integers[row * n + column]).toBe(integer(row, column))
            expect(scales[Math.floor(row / block) * n + column]).toBe(scale(row, column))
          }
      }),
    )
  })

  it('refuses weights that int8 cannot hold', () => {
    const { blob, packed } = packedMatrix({
      ...{ bits: 8, block: 16, k: 16, n: 1, withZeros: true, shift: 0, seed: 1 },
    })
    packed[0] = 255
    packed[packed.length - 1] = 0
    expect(() => deriveLean(blob, packed)).toThrow(/memory-saving form/)
  })

  it('refuses offsets outside the file', () => {
    const { blob, packed } = packedMatrix({
      ...{ bits: 4, block: 32, k: 64, n: 8, withZeros: true, shift: 0, seed: 1 },
    })
    expect(() => deriveDense(blob, packed.subarray(0, -1))).toThrow(
      /do not fit their file/,
    )
    expect(() => deriveDense({ ...blob, denseBytes: 100 }, packed)).toThrow(/do not fit/)
  })
})
