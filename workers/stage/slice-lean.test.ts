import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import {
  bytesField,
  concat,
  externalTensorProto,
  graphField,
  modelProto,
  nodeProto,
  valueInfoProto,
  varintField,
} from '../../model-split/link/wire.ts'
import { relativeError } from './golden.ts'
import { importFactory, startModule } from './heap-module.ts'
import { disposeTensor, download, HeapSession, upload } from './heap-session.ts'
import { sliceLean, stripWidth } from './slice-lean.ts'

const K = 2048
const BLOCK = 32
const BLOCKS = K / BLOCK
const SCALES_AT = 2 ** 20

/** y = -(x · dequantised(q, scales)). */
function modelOf(n: number): Uint8Array {
  const node = (parts: Parameters<typeof nodeProto>[0]) =>
    graphField('node', nodeProto(parts))
  const tensor = (
    name: string,
    dtype: 'int8' | 'float32',
    rows: number,
    offset: number,
  ) => {
    const length = rows * n * (dtype === 'int8' ? 1 : 4)
    const place = { location: 'w', offset, length }
    return graphField(
      'initializer',
      externalTensorProto({ name, dtype, dims: [rows, n], ...place }),
    )
  }
  const attributes = { axis: { int: 0 }, block_size: { int: BLOCK } }
  return modelProto(
    concat([varintField(1, 10), bytesField(8, varintField(2, 21))]),
    concat([
      tensor('q', 'int8', K, 0),
      tensor('s', 'float32', BLOCKS, SCALES_AT),
      node({
        opType: 'DequantizeLinear',
        inputs: ['q', 's'],
        outputs: ['w'],
        attributes,
      }),
      node({ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['product'] }),
      node({ opType: 'Neg', inputs: ['product'], outputs: ['y'] }),
      graphField('input', valueInfoProto('x', 'float32', [1, null, K])),
      graphField('output', valueInfoProto('y', 'float32', [1, null, n])),
    ]),
  )
}

const runtimeFile = createRequire(import.meta.url).resolve(
  'onnxruntime-web/ort-wasm-simd-threaded.mjs',
)

async function multiply(model: Uint8Array, data: Uint8Array, rows: number) {
  const runtime = await runtimeOnce
  const session = await HeapSession.open(runtime, model, [{ path: 'w', data }], {
    optimisation: 'basic',
  })
  const x = upload(runtime, {
    dtype: 'float32',
    dims: [1, rows, K],
    bytes: new Uint8Array(
      Float32Array.from({ length: rows * K }, (_, i) => Math.sin(i)).buffer,
    ),
  })
  const results = await session.run(new Map([['x', x]]), new Map([['y', null]]))
  const y = results.get('y')!
  const found = download(runtime, y)
  disposeTensor(runtime, x)
  disposeTensor(runtime, y)
  session.release()
  return found
}
const runtimeOnce = importFactory(pathToFileURL(runtimeFile).href).then((f) =>
  startModule(f, 1),
)

describe('strips of a lean matrix', () => {
  it.each([
    { n: 64, strips: 1 },
    { n: 65, strips: 2 },
    { n: 200, strips: 4 },
  ])('$n columns give the same product', async ({ n, strips }) => {
    const width = stripWidth(K)
    expect(width).toBe(64)
    const whole = new Uint8Array(SCALES_AT + 4 * BLOCKS * n)
    const striped = new Uint8Array(whole.length)
    for (let row = 0; row < K; row++)
      for (let column = 0; column < n; column++) {
        const value = (row * 31 + column * 17) % 31
        const start = column - (column % width)
        const columns = Math.min(width, n - start)
        whole[row * n + column] = value - 15
        striped[K * start + row * columns + column - start] = value - 15
        if (row % BLOCK !== 0) continue
        const scale = 0.01 * (1 + ((row + column) % 7))
        const b = row / BLOCK
        new DataView(whole.buffer).setFloat32(
          SCALES_AT + 4 * (b * n + column),
          scale,
          true,
        )
        new DataView(striped.buffer).setFloat32(
          SCALES_AT + 4 * (BLOCKS * start + b * columns + column - start),
          scale,
          true,
        )
      }
    const model = modelOf(n)
    const { model: cut, sliced } = sliceLean(model)
    expect(sliced.get('w')).toEqual(strips > 1 ? new Set([0]) : undefined)
    for (const rows of [1, 3]) {
      const expected = await multiply(model, whole, rows)
      const actual = await multiply(cut, strips > 1 ? striped : whole, rows)
      expect(actual.dims).toEqual([1, rows, n])
      // The kernel adds in another order for another number of columns.
      expect(relativeError(actual, expected)).toBeLessThan(1e-5)
      expect(actual.bytes.some((byte) => byte !== 0)).toBe(true)
    }
  })
})
