/** Element types of all tensors of a graph, by the operators' rules. */
import type { Dtype } from '../manifest.ts'
import { topologicalOrder } from './check.ts'
import { subgraphs } from './node.ts'
import { dtypeOf } from './schema.ts'
import type { Attribute, OnnxGraph, OnnxModel, OnnxNode } from './types.ts'

type Types = Map<string, Dtype>
/** Types of a node's outputs, in order; undefined where the rule cannot tell. */
type Rule = (node: OnnxNode, types: Types) => readonly (Dtype | undefined)[]

/**
 * Element types of the graph's tensors by name (those inside subgraphs are left out). What
 * the file declares counts more than the rules; a tensor of unknown type is absent.
 */
export function inferDtypes(model: OnnxModel): Map<string, Dtype> {
  return inferGraph(model.graph, new Map())
}

/** @param outer types of the names that the graph may read from outside */
function inferGraph(graph: OnnxGraph, outer: Types): Types {
  const types = new Map(outer)
  const declared = [...graph.inputs, ...graph.outputs, ...graph.valueInfo.values()]
  for (const { name, dtype } of declared) if (dtype) types.set(name, dtype)
  for (const [name, tensor] of graph.initializers) types.set(name, tensor.dtype)
  const known = new Set(declared.filter((v) => v.dtype).map((v) => v.name))
  for (const node of topologicalOrder(graph)) {
    const rule = ruleFor(node)
    rule(node, types).forEach((dtype, i) => {
      const name = node.outputs[i] ?? ''
      if (name !== '' && dtype && !known.has(name)) types.set(name, dtype)
    })
  }
  return types
}

function ruleFor(node: OnnxNode): Rule {
  const standard = node.domain === '' ? STANDARD[node.opType] : undefined
  return standard ?? ANY_DOMAIN[node.opType] ?? likeFirst
}

const input = (node: OnnxNode, types: Types, i: number): Dtype | undefined =>
  types.get(node.inputs[i] ?? '')

const like =
  (i: number): Rule =>
  (node, types) =>
    node.outputs.map(() => input(node, types, i))

/** Most operators give what their first input is (the second, where the first is absent). */
const likeFirst: Rule = (node, types) => {
  const first = node.inputs.findIndex((name) => name !== '')
  const dtype = first < 0 ? undefined : input(node, types, first)
  return node.outputs.map(() => dtype)
}

const always =
  (...dtypes: Dtype[]): Rule =>
  () =>
    dtypes

function int(attribute: Attribute | undefined): number | undefined {
  return attribute?.kind === 'int' ? attribute.value : undefined
}

/** The type that an attribute names, else another. */
const named =
  (attribute: string, otherwise: Rule): Rule =>
  (node, types) => {
    const dtype = dtypeOf(int(node.attributes.get(attribute)) ?? 0)
    return dtype ? [dtype] : otherwise(node, types)
  }

const constant: Rule = (node) => {
  const value = node.attributes.get('value')
  if (value?.kind === 'tensor') return [value.value.dtype]
  if (node.attributes.has('value_float') || node.attributes.has('value_floats'))
    return ['float32']
  if (node.attributes.has('value_int') || node.attributes.has('value_ints'))
    return ['int64']
  return []
}

const constantOfShape: Rule = (node, types) =>
  node.attributes.has('value') ? constant(node, types) : ['float32']

const quantized: Rule = (node, types) => [
  input(node, types, 2) ??
    dtypeOf(int(node.attributes.get('output_dtype')) ?? 0) ??
    'uint8',
]

/** Outputs of the first branch or the body; a Loop's begin after its condition. */
const fromSubgraph =
  (skip: number): Rule =>
  (node, types) => {
    const graph = subgraphs(node.attributes.values())[0]
    if (!graph) return []
    const inner = inferGraph(graph, types)
    return graph.outputs.slice(skip).map(({ name }) => inner.get(name))
  }

const STANDARD: Readonly<Record<string, Rule | undefined>> = {
  Cast: named('to', () => []),
  CastLike: like(1),
  BitCast: named('to', () => []),
  Constant: constant,
  ConstantOfShape: constantOfShape,
  EyeLike: named('dtype', likeFirst),
  OneHot: like(2),
  Where: like(1),
  Shape: always('int64'),
  Size: always('int64'),
  NonZero: always('int64'),
  ArgMax: always('int64'),
  ArgMin: always('int64'),
  TopK: (node, types) => [input(node, types, 0), 'int64'],
  Unique: (node, types) => [input(node, types, 0), 'int64', 'int64', 'int64'],
  MaxPool: (node, types) => [input(node, types, 0), 'int64'],
  Dropout: (node, types) => [input(node, types, 0), 'bool'],
  RandomNormal: named('dtype', always('float32')),
  RandomUniform: named('dtype', always('float32')),
  RandomNormalLike: named('dtype', likeFirst),
  RandomUniformLike: named('dtype', likeFirst),
  Multinomial: named('dtype', always('int32')),
  If: fromSubgraph(0),
  Loop: fromSubgraph(1),
  Scan: fromSubgraph(0),
  ...Object.fromEntries(
    [
      'Equal',
      'Less',
      'LessOrEqual',
      'Greater',
      'GreaterOrEqual',
      'And',
      'Or',
      'Xor',
      'Not',
      'IsNaN',
      'IsInf',
    ].map((op) => [op, always('bool')]),
  ),
}

/** Also where com.microsoft has an operator of the same name. */
const ANY_DOMAIN: Readonly<Record<string, Rule | undefined>> = {
  DynamicQuantizeLinear: always('uint8', 'float32', 'uint8'),
  MatMulInteger: always('int32'),
  ConvInteger: always('int32'),
  MatMulIntegerToFloat: like(2),
  DynamicQuantizeMatMul: like(0),
  DequantizeLinear: named('output_dtype', like(1)),
  QuantizeLinear: quantized,
  QLinearMatMul: like(7),
  GatherBlockQuantized: like(2),
  MatMulNBits: like(0),
  // The mask's index comes second; see ORT's contrib operators.
  EmbedLayerNormalization: (node, types) => [
    input(node, types, 2),
    'int32',
    input(node, types, 2),
  ],
}
