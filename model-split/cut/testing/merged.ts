/** Makes of a decoder with past what older exporters made: one node, two branches. */
import { Reader } from 'protobufjs/minimal.js'
import { readModel } from '../../onnx/read.ts'
import { GRAPH, MODEL, NODE, TENSOR } from '../../onnx/schema.ts'
import {
  bytesField,
  concat,
  graphField,
  nodeProto,
  tensorProto,
  valueInfoProto,
} from '../../onnx/write.ts'
import { MemoryModel } from '../../source/memory.ts'
import { USE_CACHE } from '../branches.ts'

/** Fields with a payload: number, and the payload's bytes. */
export type Fields = readonly (readonly [number, Uint8Array])[]

export function fieldsOf(bytes: Uint8Array): { lengths: Fields; rest: Uint8Array } {
  const reader = new Reader(bytes)
  const lengths: [number, Uint8Array][] = []
  const rest: Uint8Array[] = []
  while (reader.pos < reader.len) {
    const start = reader.pos
    const tag = reader.uint32()
    if ((tag & 7) === 2) lengths.push([tag >>> 3, reader.bytes()])
    else {
      reader.skipType(tag & 7)
      rest.push(bytes.subarray(start, reader.pos))
    }
  }
  return { lengths, rest: concat(rest) }
}

const textOf = (message: Uint8Array, field: number): string =>
  new TextDecoder().decode(fieldsOf(message).lengths.find(([n]) => n === field)?.[1])

/**
 * @param decoder a decoder with past whose cache inputs are fp32.
 * @param inside names of weights that lie in the branch with past.
 * @param change of the nodes of the branch with past.
 */
export async function mergedDecoder(
  decoder: Uint8Array,
  inside: readonly string[] = [],
  change: (node: Uint8Array) => Uint8Array[] = (node) => [node],
): Promise<Uint8Array> {
  const { graph } = await readModel(new MemoryModel({ 'm.onnx': decoder }), 'm.onnx')
  const model = fieldsOf(decoder)
  const parts = fieldsOf(
    model.lengths.find(([n]) => n === MODEL.graph)?.[1] ?? new Uint8Array(),
  ).lengths
  const of = (number: number): Uint8Array[] =>
    parts.filter(([n]) => n === number).map(([, bytes]) => bytes)
  const isInside = (tensor: Uint8Array): boolean =>
    inside.includes(textOf(tensor, TENSOR.name))
  const outputs = of(GRAPH.output).map((bytes) => graphField('output', bytes))
  const withPast = concat([
    bytesField(GRAPH.name, 'with_past'),
    ...of(GRAPH.node)
      .flatMap(change)
      .map((bytes) => graphField('node', bytes)),
    ...of(GRAPH.initializer)
      .filter(isInside)
      .map((bytes) => graphField('initializer', bytes)),
    ...outputs,
  ])
  // The same names mean other tensors here, and the caches are empty.
  const empty = graph.inputs
    .filter(({ name }) => name.startsWith('past'))
    .map(({ name, dims }) => {
      const [, heads, , size] = dims ?? []
      return tensorProto({
        name: nameWithout(name),
        dtype: 'float32',
        dims: [1, Number(heads), 0, Number(size)],
        raw: new Uint8Array(0),
      })
    })
  const withoutPast = concat([
    bytesField(GRAPH.name, 'no_past'),
    ...of(GRAPH.node).map((bytes) => graphField('node', nodeWithout(bytes))),
    ...[...empty, ...of(GRAPH.initializer).filter(isInside)].map((bytes) =>
      graphField('initializer', bytes),
    ),
    ...outputs,
  ])
  const choice = nodeProto({
    opType: 'If',
    name: 'optimum::if',
    inputs: [USE_CACHE],
    outputs: graph.outputs.map(({ name }) => name),
    attributes: { then_branch: { graph: withPast }, else_branch: { graph: withoutPast } },
  })
  const merged = concat([
    bytesField(GRAPH.name, 'merged'),
    graphField('node', choice),
    ...of(GRAPH.initializer)
      .filter((bytes) => !isInside(bytes))
      .map((bytes) => graphField('initializer', bytes)),
    ...of(GRAPH.input).map((bytes) => graphField('input', bytes)),
    graphField('input', valueInfoProto(USE_CACHE, 'bool', [1])),
    ...outputs,
  ])
  return concat([
    model.rest,
    ...model.lengths.map(([n, bytes]) =>
      bytesField(n, n === MODEL.graph ? merged : bytes),
    ),
  ])
}

const nameWithout = (name: string): string => name.replace(/^past/, 'none')

function nodeWithout(bytes: Uint8Array): Uint8Array {
  const { lengths, rest } = fieldsOf(bytes)
  return concat([
    ...lengths.map(([n, value]) => {
      const isInput = n === NODE.input
      return bytesField(n, isInput ? nameWithout(new TextDecoder().decode(value)) : value)
    }),
    rest,
  ])
}
