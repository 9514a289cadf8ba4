import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  attributeProto,
  bytesField,
  concat,
  externalTensorProto,
  floatField,
  graphField,
  modelProto,
  nodeProto,
  tensorProto,
  valueInfoProto,
  varint,
  varintField,
} from '../link/wire.ts'
import { MemoryModel } from '../source/memory.ts'
import type { ModelSource } from '../source/source.ts'
import { topologicalOrder } from './check.ts'
import { ModelError } from './error.ts'
import { readModel, readTensor } from './read.ts'
import type { OnnxModel } from './types.ts'

const HEADER = concat([varintField(1, 8), bytesField(8, varintField(2, 18))])
const node = (opType: string, inputs: string[], outputs: string[]): Uint8Array =>
  graphField('node', nodeProto({ opType, inputs, outputs }))
const input = (name: string): Uint8Array =>
  graphField('input', valueInfoProto(name, 'float32', ['n', 2]))
const output = (name: string): Uint8Array =>
  graphField('output', valueInfoProto(name, 'float32', null))
const floats = (count: number, value: number): Uint8Array =>
  new Uint8Array(new Float32Array(count).fill(value).buffer)
const weight = (name: string, count: number, value = 1): Uint8Array =>
  tensorProto({ name, dtype: 'float32', dims: [count], raw: floats(count, value) })

function read(...fields: Uint8Array[]): Promise<OnnxModel> {
  return readModel(sourceOf(...fields), 'm.onnx')
}

function sourceOf(...fields: Uint8Array[]): MemoryModel {
  return new MemoryModel({ 'm.onnx': modelProto(HEADER, concat(fields)) })
}

test('a graph is read whatever the order of its fields', async () => {
  const add = nodeProto({
    opType: 'Add',
    name: 'sum',
    inputs: ['x', 'w'],
    outputs: ['y', ''],
  })
  const model = await read(
    output('y'),
    graphField('initializer', weight('w', 2)),
    graphField('node', add),
    input('x'),
  )
  expect(model).toMatchObject({ irVersion: 8, opsets: [{ domain: '', version: 18 }] })
  expect(model.header).toEqual(HEADER)
  expect(model.graph.inputs).toEqual([{ name: 'x', dtype: 'float32', dims: ['n', 2] }])
  expect(model.graph.outputs).toEqual([{ name: 'y', dtype: 'float32', dims: null }])
  expect(model.graph.nodes).toMatchObject([
    { name: 'sum', opType: 'Add', inputs: ['x', 'w'], outputs: ['y', ''], bytes: add },
  ])
})

test('initialisers that old files list as inputs are no inputs', async () => {
  const model = await read(
    input('x'),
    input('w'),
    graphField('initializer', weight('w', 2)),
    node('Add', ['x', 'w'], ['y']),
    output('y'),
  )
  expect(model.graph.inputs.map((i) => i.name)).toEqual(['x'])
})

test('attributes of all kinds are read', async () => {
  const t = tensorProto({ name: '', dtype: 'int64', dims: [], raw: new Uint8Array(8) })
  const attributes = {
    i: { int: -3 },
    f: { float: 0.25 },
    s: { string: 'text' },
    is: { ints: [1, -1] },
    fs: { floats: [1, 2] },
    ss: { strings: ['a', ''] },
    t: { tensor: t },
  }
  const op = nodeProto({ opType: 'Op', inputs: [], outputs: ['y'], attributes })
  const model = await read(graphField('node', op), output('y'))
  expect(Object.fromEntries(model.graph.nodes[0]!.attributes)).toMatchObject({
    i: { kind: 'int', value: -3 },
    f: { kind: 'float', value: 0.25 },
    s: { kind: 'string', value: 'text' },
    is: { kind: 'ints', value: [1, -1] },
    fs: { kind: 'floats', value: [1, 2] },
    ss: { kind: 'strings', value: ['a', ''] },
    t: { kind: 'tensor', value: { dtype: 'int64', dims: [], bytes: 8 } },
  })
})

describe('tensors that are not raw data', () => {
  const head = (type: number, ...dims: number[]): Uint8Array =>
    concat([
      ...dims.map((dim) => varintField(1, dim)),
      varintField(2, type),
      bytesField(8, 'w'),
    ])
  const bytesOf = async (tensor: Uint8Array): Promise<number[]> => {
    const source = sourceOf(graphField('initializer', tensor), output('w'))
    const model = await readModel(source, 'm.onnx')
    return [...(await readTensor(source, model.graph.initializers.get('w')!))]
  }
  const packed = (field: number, values: (number | bigint)[]): Uint8Array =>
    bytesField(field, concat(values.map(varint)))
  const raw = (array: ArrayBufferView): number[] => [
    ...new Uint8Array(array.buffer, array.byteOffset, array.byteLength),
  ]

  test('int64 as varints, packed or not', async () => {
    const expected = raw(BigInt64Array.of(-1n, 2n ** 40n))
    expect(await bytesOf(concat([head(7, 2), packed(7, [-1, 2 ** 40])]))).toEqual(
      expected,
    )
    const single = concat([head(7, 2), varintField(7, -1), varintField(7, 2 ** 40)])
    expect(await bytesOf(single)).toEqual(expected)
  })

  test('narrow types in int32_data', async () => {
    expect(await bytesOf(concat([head(3, 2), packed(5, [-2, 7])]))).toEqual([254, 7])
    expect(await bytesOf(concat([head(9, 2), packed(5, [1, 0])]))).toEqual([1, 0])
    expect(await bytesOf(concat([head(10, 1), packed(5, [0x3c00])]))).toEqual([0, 0x3c])
    // Three int4 elements in two bytes.
    expect(await bytesOf(concat([head(22, 3), packed(5, [0x21, 0x03])]))).toEqual([
      0x21, 3,
    ])
  })

  test('uint32 in uint64_data', async () => {
    expect(await bytesOf(concat([head(12, 1), packed(11, [2 ** 32 - 1])]))).toEqual([
      255, 255, 255, 255,
    ])
  })

  test('float_data, packed or not', async () => {
    const many = bytesField(4, floats(300, 0.5))
    const source = sourceOf(graphField('initializer', concat([head(1, 300), many])))
    const tensor = (await readModel(source, 'm.onnx')).graph.initializers.get('w')!
    expect(tensor.data.kind).toBe('file')
    expect(await readTensor(source, tensor)).toEqual(floats(300, 0.5))
    const single = concat([head(1, 2), floatField(4, 0.5), floatField(4, 0.5)])
    expect(await bytesOf(single)).toEqual([...floats(2, 0.5)])
  })

  test.each([
    [
      'too few elements',
      concat([head(7, 3), packed(7, [1, 2])]),
      /has 16 bytes .* needs 24/,
    ],
    ['no data at all', head(1, 4), /has 0 bytes of data.* needs 16/],
    [
      'the field of another type',
      concat([head(6, 1), packed(7, [1])]),
      /for another type/,
    ],
    ['a negative dimension', head(1, -4), /impossible shape \[-4\]/],
    ['a shape beyond all numbers', head(1, 2 ** 40, 2 ** 40), /impossible shape/],
    [
      'text elements',
      concat([head(8, 1), bytesField(6, 'a')]),
      /elements of ONNX type 8/,
    ],
  ])('%s are refused', async (_, tensor, sentence) => {
    await expect(bytesOf(tensor)).rejects.toThrow(sentence)
  })

  test('an empty tensor needs no data', async () => {
    expect(await bytesOf(head(1, 0, 64))).toEqual([])
  })
})

test('a file of 3 GB is read without its weights', async () => {
  const layers = 300
  const head = (name: string): Uint8Array =>
    concat([varintField(1, 2_621_440), varintField(2, 1), bytesField(8, name)])
  // Only the small parts exist; between them the source gives zeros.
  const parts = new Map<number, Uint8Array>()
  let at = 0
  const put = (bytes: Uint8Array): void => {
    parts.set(at, bytes)
    at += bytes.length
  }
  const payload = 2_621_440 * 4
  const pieces: { head: Uint8Array; skip: number }[] = []
  for (let i = 0; i < layers; i++) {
    const inner = concat([head(`w${i}`), varint(9 * 8 + 2), varint(payload)])
    const size = varint(inner.length + payload)
    pieces.push({ head: concat([varint(5 * 8 + 2), size, inner]), skip: payload })
  }
  const tail = concat([input('x'), node('Add', ['x', 'w299'], ['y']), output('y')])
  const graph = pieces.reduce((n, p) => n + p.head.length + p.skip, tail.length)
  put(concat([HEADER, varint(7 * 8 + 2), varint(graph)]))
  for (const piece of pieces) {
    put(piece.head)
    at += piece.skip
  }
  put(tail)
  const size = at
  const starts = [...parts.keys()]
  let bytesRead = 0
  const source: ModelSource = {
    name: 'huge',
    list: () => Promise.resolve(['m.onnx']),
    size: () => Promise.resolve(size),
    text: () => Promise.resolve(null),
    close: () => Promise.resolve(),
    read: (_path, offset, length) => {
      bytesRead += length
      const bytes = new Uint8Array(length)
      for (const start of starts) {
        const part = parts.get(start)!
        if (start >= offset + length || start + part.length <= offset) continue
        const from = Math.max(0, offset - start)
        const some = part.subarray(from, offset + length - start)
        bytes.set(some, start + from - offset)
      }
      return Promise.resolve(bytes)
    },
  }
  const { graph: read } = await readModel(source, 'm.onnx')
  expect(size).toBeGreaterThan(3e9)
  expect(bytesRead).toBeLessThan(20e6)
  expect(read.initializers.size).toBe(layers)
  const last = read.initializers.get('w299')!
  expect(last.data).toEqual({
    kind: 'file',
    file: 'm.onnx',
    offset: size - tail.length - payload,
    length: payload,
  })
})

describe('constants and subgraphs', () => {
  const constant = (name: string, count: number, value = 1): Uint8Array =>
    nodeProto({
      opType: 'Constant',
      inputs: [],
      outputs: [name],
      attributes: { value: { tensor: weight('', count, value) } },
    })

  test('a large Constant becomes an initialiser, a small one stays', async () => {
    const source = sourceOf(
      graphField('node', constant('large', 257)),
      graphField('node', constant('small', 256)),
      node('Concat', ['large', 'small'], ['y']),
      output('y'),
    )
    const { graph } = await readModel(source, 'm.onnx')
    expect(graph.nodes.map((n) => n.opType)).toEqual(['Constant', 'Concat'])
    expect([...graph.initializers.keys()]).toEqual(['large'])
    const large = graph.initializers.get('large')!
    expect(await readTensor(source, large)).toEqual(floats(257, 1))
  })

  const choice = (then: Uint8Array, otherwise: Uint8Array): Uint8Array =>
    graphField(
      'node',
      nodeProto({
        opType: 'If',
        inputs: ['which'],
        outputs: ['y'],
        attributes: { then_branch: { graph: then }, else_branch: { graph: otherwise } },
      }),
    )
  const which = graphField('input', valueInfoProto('which', 'bool', []))

  test('subgraphs tell what they read from outside', async () => {
    const then = concat([
      node('Add', ['x', 'x'], ['s']),
      node('Neg', ['s'], ['t']),
      output('t'),
    ])
    const inner = choice(then, output('z'))
    const op = choice(concat([inner, output('y')]), output('x'))
    const model = await read(which, input('x'), input('z'), op, output('y'))
    expect(model.graph.nodes[0]!.captured.toSorted()).toEqual(['which', 'x', 'z'])
    const [bytes] = [model.graph.nodes[0]!.bytes]
    expect(graphField('node', bytes)).toEqual(op)
  })

  test('large tensors leave the branches of an If, even under the same name', async () => {
    const small = graphField('initializer', weight('small', 4))
    const then = concat([
      node('Add', ['w', 'small'], ['t']),
      graphField('initializer', weight('w', 300, 2)),
      small,
      output('t'),
    ])
    const otherwise = concat([graphField('node', constant('w', 300, 3)), output('w')])
    const source = sourceOf(which, choice(then, otherwise), output('y'))
    const { graph } = await readModel(source, 'm.onnx')
    expect([...graph.initializers.keys()]).toEqual(['w/hoisted', 'w/hoisted_1'])
    const values = [...graph.initializers.values()].map((t) => readTensor(source, t))
    expect(await Promise.all(values)).toEqual([floats(300, 2), floats(300, 3)])
    const op = graph.nodes[0]!
    expect(op.captured).toEqual(['w/hoisted', 'w/hoisted_1'])
    // The node itself says the same as what was parsed of it.
    const again = await read(
      which,
      graphField('node', op.bytes),
      graphField('initializer', weight('w/hoisted', 300, 2)),
      graphField('initializer', weight('w/hoisted_1', 300, 3)),
      output('y'),
    )
    expect(again.graph.nodes[0]).toEqual(op)
    expect(op.bytes.length).toBeLessThan(1000)
    const branch = op.attributes.get('then_branch')!
    expect(branch.kind === 'graph' && branch.value.nodes.map((n) => n.opType)).toEqual([
      'Identity',
      'Add',
    ])
  })

  test('graphs nested without end are refused', async () => {
    let graph: Uint8Array = output('x')
    for (let i = 0; i < 40; i++) graph = concat([choice(graph, output('x')), output('y')])
    await expect(read(which, input('x'), graph)).rejects.toThrow(/nests graphs deeper/)
  })
})

describe('what is refused', () => {
  const far = { name: 'w', dtype: 'float32', dims: [4], offset: 0, length: 16 } as const

  test.each([
    [
      'a tensor that two nodes write',
      [input('x'), node('A', ['x'], ['y']), node('B', ['x'], ['y'])],
      /"y" in m\.onnx is produced twice, by node "y" \(A\) and by node "y" \(B\)/,
    ],
    [
      'a node that writes an input',
      [input('x'), node('A', [], ['x'])],
      /"x" in m\.onnx is produced twice, by an input and/,
    ],
    [
      'two initialisers of one name',
      [
        graphField('initializer', weight('w', 1)),
        graphField('initializer', weight('w', 1)),
      ],
      /Two initialisers in m\.onnx are called "w"/,
    ],
    [
      'a node that reads its own output',
      [node('A', ['y'], ['y'])],
      /The graph has a cycle: node "y" \(A\)/,
    ],
    ['an output of nowhere', [output('y')], /produces the tensor "y", which an output/],
    [
      'sparse initialisers',
      [bytesField(15, new Uint8Array(0))],
      /sparse initialisers.*dense weights/,
    ],
    [
      'a tensor in a file outside',
      [graphField('initializer', externalTensorProto({ ...far, location: 'a\\b' }))],
      /"a\\b", which contains a backslash/,
    ],
    [
      'an attribute in a file of its own',
      [
        graphField(
          'node',
          concat([
            nodeProto({ opType: 'Op', inputs: [], outputs: ['y'] }),
            bytesField(
              5,
              attributeProto('t', {
                tensor: externalTensorProto({ ...far, location: 'data' }),
              }),
            ),
          ]),
        ),
      ],
      /attribute "t" in data/,
    ],
  ])('%s', async (_, fields, sentence) => {
    const files = {
      'm.onnx': modelProto(HEADER, concat(fields)),
      data: new Uint8Array(16),
    }
    const reading = readModel(new MemoryModel(files), 'm.onnx')
    await expect(reading).rejects.toThrow(ModelError)
    await expect(reading).rejects.toThrow(sentence)
  })

  test('lists of numbers that no graph has', async () => {
    const endless = bytesField(1, new Uint8Array(20_000_000).fill(1))
    const tensor = concat([endless, varintField(2, 1), bytesField(8, 'w')])
    const source = sourceOf(graphField('initializer', tensor))
    await expect(readModel(source, 'm.onnx')).rejects.toThrow(/not a complete ONNX file/)
    expect(source.bytesRead).toBeLessThan(1e6)
    const axes = Array.from({ length: 70 }, () => varintField(1, 1))
    await expect(
      read(graphField('initializer', concat([...axes, varintField(2, 1)]))),
    ).rejects.toThrow(/not a complete ONNX file/)
  })

  test('any bytes at all give a model or a ModelError, without large reads', async () => {
    const good = modelProto(
      HEADER,
      concat([
        graphField('initializer', weight('w', 400)),
        input('x'),
        node('Add', ['x', 'w'], ['y']),
        output('y'),
      ]),
    )
    const damaged = fc
      .tuple(
        fc.nat(good.length - 1),
        fc.integer({ min: 0, max: 255 }),
        fc.nat(good.length),
      )
      .map(([at, byte, length]) => {
        const copy = good.slice(0, Math.max(length, at + 1))
        copy[at] = byte
        return copy
      })
    await fc.assert(
      fc.asyncProperty(fc.oneof(damaged, fc.uint8Array()), async (bytes) => {
        const source = new MemoryModel({ 'm.onnx': bytes })
        try {
          await readModel(source, 'm.onnx')
        } catch (error) {
          expect(error).toBeInstanceOf(ModelError)
        }
        expect(source.bytesRead).toBeLessThan(20 * bytes.length + 5000)
      }),
      { numRuns: 500 },
    )
  })
})

test('nodes are put in order, and otherwise left in the order of the file', async () => {
  const model = await read(
    input('x'),
    node('C', ['b'], ['c']),
    node('A', ['x'], ['a']),
    node('B', ['a'], ['b']),
    node('D', ['x'], ['d']),
  )
  const order = topologicalOrder(model.graph).map((n) => n.opType)
  expect(order).toEqual(['A', 'B', 'C', 'D'])
})
