import { expect, test } from 'vitest'
import {
  bytesField,
  concat,
  graphField,
  modelProto,
  nodeProto,
  tensorProto,
  valueInfoProto,
  varintField,
  type NodeParts,
} from '../link/wire.ts'
import { MemoryModel } from '../source/memory.ts'
import { inferDtypes } from './dtypes.ts'
import { readModel } from './read.ts'

const HEADER = concat([varintField(1, 8), bytesField(8, varintField(2, 21))])
const INPUTS = {
  f16: 'float16',
  f32: 'float32',
  i8: 'int8',
  i64: 'int64',
  flag: 'bool',
} as const

/** Types of the outputs o0, o1, … of one node that reads the inputs above. */
async function typesOf(
  node: Omit<NodeParts, 'outputs'>,
  outputs = 1,
): Promise<unknown[]> {
  const names = Array.from({ length: outputs }, (_, i) => `o${i}`)
  const graph = concat([
    ...Object.entries(INPUTS).map(([name, dtype]) =>
      graphField('input', valueInfoProto(name, dtype, null)),
    ),
    graphField('node', nodeProto({ ...node, outputs: names })),
  ])
  const source = new MemoryModel({ 'm.onnx': modelProto(HEADER, graph) })
  const dtypes = inferDtypes(await readModel(source, 'm.onnx'))
  return names.map((name) => dtypes.get(name))
}

const half = tensorProto({
  name: '',
  dtype: 'float16',
  dims: [1],
  raw: new Uint8Array(2),
})
const ms = 'com.microsoft'

test.each([
  ['Cast', { inputs: ['f32'], attributes: { to: { int: 10 } } }, ['float16']],
  ['CastLike', { inputs: ['f32', 'i8'] }, ['int8']],
  ['Less', { inputs: ['f32', 'f32'] }, ['bool']],
  ['Shape', { inputs: ['f32'] }, ['int64']],
  ['TopK', { inputs: ['f16', 'i64'] }, ['float16', 'int64']],
  ['Where', { inputs: ['flag', 'f16', 'f16'] }, ['float16']],
  ['DynamicQuantizeLinear', { inputs: ['f32'] }, ['uint8', 'float32', 'uint8']],
  ['MatMulInteger', { inputs: ['i8', 'i8'] }, ['int32']],
  ['DequantizeLinear', { inputs: ['i8', 'f16'] }, ['float16']],
  ['QuantizeLinear', { inputs: ['f32', 'f32', 'i8'] }, ['int8']],
  ['QuantizeLinear', { inputs: ['f32', 'f32'] }, ['uint8']],
  ['GatherBlockQuantized', { domain: ms, inputs: ['i8', 'i64', 'f16'] }, ['float16']],
  ['MatMulNBits', { domain: ms, inputs: ['f16', 'i8', 'f16'] }, ['float16']],
  ['Range', { inputs: ['i64', 'i64', 'i64'] }, ['int64']],
  [
    'ConstantOfShape',
    { inputs: ['i64'], attributes: { value: { tensor: half } } },
    ['float16'],
  ],
  ['ConstantOfShape', { inputs: ['i64'] }, ['float32']],
  ['Constant', { inputs: [], attributes: { value_ints: { ints: [1] } } }, ['int64']],
  ['EyeLike', { inputs: ['f32'], attributes: { dtype: { int: 7 } } }, ['int64']],
  ['OneHot', { inputs: ['i64', 'i64', 'f16'] }, ['float16']],
  ['Split', { inputs: ['f16'] }, ['float16', 'float16']],
  // An unknown operator without inputs stays unknown.
  ['Mystery', { domain: 'ai.example', inputs: [] }, [undefined]],
])('%s %j', async (opType, node, expected) => {
  expect(await typesOf({ opType, ...node }, expected.length)).toEqual(expected)
})

test('If and Loop give what their subgraphs give', async () => {
  const branch = concat([
    graphField(
      'node',
      nodeProto({ opType: 'Shape', inputs: ['f32'], outputs: ['inner'] }),
    ),
    graphField('output', bytesField(1, 'inner')),
  ])
  const attributes = { then_branch: { graph: branch }, else_branch: { graph: branch } }
  expect(await typesOf({ opType: 'If', inputs: ['flag'], attributes })).toEqual(['int64'])
  const named = (name: string): Uint8Array => graphField('output', bytesField(1, name))
  const body = concat([named('flag'), named('f16'), named('i8')])
  const loop = {
    opType: 'Loop',
    inputs: ['i64', 'flag'],
    attributes: { body: { graph: body } },
  }
  expect(await typesOf(loop, 2)).toEqual(['float16', 'int8'])
})
