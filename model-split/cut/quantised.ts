/**
 * Weight matrices in blocks of few bits. MatMulNBits has no fast WASM kernel, so a span can
 * also be linked with the same numbers as fp32 (`dense`) or as int8 with scales (`lean`).
 */
import type { OnnxModel, OnnxNode, OnnxTensor } from '../onnx/types.ts'
import { graphField, nodeProto, type NodeParts } from '../link/wire.ts'

/** A MatMulNBits node whose weights can be kept in other forms. */
export interface QuantisedNode {
  readonly node: OnnxNode
  readonly bits: 4 | 8
  readonly block: number
  readonly k: number
  readonly n: number
  readonly q: OnnxTensor
  readonly scales: OnnxTensor
  readonly zeros: OnnxTensor | null
  readonly bias: string | null
  /** int8 with per-block scales holds the same numbers. */
  readonly canBeLean: boolean
}

/** First version of the standard operators whose DequantizeLinear knows blocks. */
const BLOCKED_DEQUANTIZE = 21

export function quantisedNode(model: OnnxModel, node: OnnxNode): QuantisedNode | null {
  if (node.domain !== 'com.microsoft' || node.opType !== 'MatMulNBits') return null
  const int = (name: string): number => {
    const attribute = node.attributes.get(name)
    return attribute?.kind === 'int' ? attribute.value : 0
  }
  const initializer = (i: number): OnnxTensor | null =>
    model.graph.initializers.get(node.inputs[i] ?? '') ?? null
  const [bits, block, k, n] = [int('bits') || 4, int('block_size'), int('K'), int('N')]
  const [q, scales, zeros] = [initializer(1), initializer(2), initializer(3)]
  if ((bits !== 4 && bits !== 8) || !q || !scales || block < 16 || k < 1 || n < 1)
    return null
  const blocks = Math.ceil(k / block)
  const zeroBytes = n * Math.ceil((blocks * bits) / 8)
  const fits =
    q.dtype === 'uint8' &&
    q.bytes === (n * blocks * block * bits) / 8 &&
    scales.dtype === 'float32' &&
    scales.bytes === 4 * n * blocks &&
    (node.inputs[3] ? zeros?.dtype === 'uint8' && zeros.bytes === zeroBytes : true) &&
    !node.inputs[4]
  if (!fits) return null
  const opset =
    model.opsets.find(({ domain }) => domain === '' || domain === 'ai.onnx')?.version ?? 0
  return {
    node,
    bits,
    block,
    k,
    n,
    q,
    scales,
    zeros,
    bias: node.inputs[5] || null,
    canBeLean: opset >= BLOCKED_DEQUANTIZE && (bits === 4 || !zeros),
  }
}

export function denseName(q: OnnxTensor): string {
  return `${q.name}/dense`
}

export function leanNames(q: OnnxTensor): { q: string; scales: string } {
  return { q: `${q.name}/lean`, scales: `${q.name}/lean_scales` }
}

/** Graph fields of the node in each form; accuracy_level is left at 0: all stages agree. */
export function quantisedFields(
  item: QuantisedNode,
): Record<'packed' | 'dense' | 'lean', Uint8Array[]> {
  const { node, bits, block, k, n } = item
  const field = (parts: NodeParts): Uint8Array => graphField('node', nodeProto(parts))
  const packed = field({
    opType: 'MatMulNBits',
    domain: 'com.microsoft',
    name: node.name,
    inputs: node.inputs,
    outputs: node.outputs,
    attributes: {
      bits: { int: bits },
      block_size: { int: block },
      K: { int: k },
      N: { int: n },
    },
  })
  const dense = multiply(item, denseName(item.q))
  if (!item.canBeLean) return { packed: [packed], dense, lean: [packed] }
  const { q, scales } = leanNames(item.q)
  const expanded = `${node.outputs[0] ?? ''}/weights`
  const dequantize = field({
    opType: 'DequantizeLinear',
    inputs: [q, scales],
    outputs: [expanded],
    attributes: { axis: { int: 0 }, block_size: { int: block } },
  })
  return { packed: [packed], dense, lean: [dequantize, ...multiply(item, expanded)] }
}

function multiply({ node, bias }: QuantisedNode, weights: string): Uint8Array[] {
  const [input = '', output = ''] = [node.inputs[0], node.outputs[0]]
  const product = bias ? `${output}/product` : output
  const fields = [
    nodeProto({ opType: 'MatMul', inputs: [input, weights], outputs: [product] }),
  ]
  if (bias)
    fields.push(nodeProto({ opType: 'Add', inputs: [product, bias], outputs: [output] }))
  return fields.map((bytes) => graphField('node', bytes))
}
