/** Writes the pieces of a cut graph into graph.bin and tells what each needs. */
import type { Feed, Piece } from '../manifest.ts'
import { concat, graphField, nodeProto } from '../link/wire.ts'
import type { OnnxModel, OnnxNode } from '../onnx/types.ts'
import { readsOf } from './flow.ts'
import type { Layout, Part, PartNode } from './parts.ts'
import { quantisedFields, quantisedNode, type QuantisedNode } from './quantised.ts'
import { inlineField, planWeights, type PartReads, type WeightPlan } from './weights.ts'

export interface CutGraph {
  readonly bytes: Uint8Array
  readonly header: [number, number]
  readonly pieces: Record<string, Piece>
}

/** Quantised nodes by node, less those whose weights another node reads differently. */
export function findQuantised(
  model: OnnxModel,
  layout: Layout,
): Map<OnnxNode, QuantisedNode> {
  const byWeight = new Map<string, QuantisedNode>()
  const found = new Map<OnnxNode, QuantisedNode>()
  for (const { nodes } of layout.parts)
    for (const { node } of nodes) {
      const item = quantisedNode(model, node)
      if (!item) continue
      const twin = byWeight.get(item.q.name)
      if (twin && (twin.scales !== item.scales || twin.zeros !== item.zeros)) continue
      byWeight.set(item.q.name, item)
      found.set(node, item)
    }
  return found
}

/** Which initialisers each part reads; those of a joint belong to the layer after it. */
export function planReads(
  model: OnnxModel,
  layout: Layout,
  quantised: ReadonlyMap<OnnxNode, QuantisedNode>,
  bodyOf: (part: string) => string,
): WeightPlan {
  const nothing = () => ({
    plain: new Set<string>(),
    whole: new Set<string>(),
    quantised: new Array<QuantisedNode>(),
    inline: new Set<string>(),
  })
  const reads = new Map<string, ReturnType<typeof nothing>>()
  const of = (id: string): ReturnType<typeof nothing> => {
    const known = reads.get(id) ?? nothing()
    reads.set(id, known)
    return known
  }
  for (const part of layout.parts)
    for (const item of part.nodes) {
      const matrix = quantised.get(item.node)
      const bias = jointBias(item)
      if (matrix) {
        of(part.id).quantised.push(matrix)
        if (matrix.bias) of(part.id).plain.add(matrix.bias)
        continue
      }
      for (const name of namesIn(item))
        if (model.graph.initializers.has(name)) {
          if (name === bias || bodyOf(part.id) === part.id) of(part.id).plain.add(name)
          else of(bodyOf(part.id)).plain.add(name)
          if (name === bias) of(part.id).inline.add(name)
          if (!looksUp(item, name)) of(part.id).whole.add(name)
        }
    }
  const parts: PartReads[] = [...reads].map(([id, read]) => ({ id, ...read }))
  return planWeights(model, parts)
}

/** Whether the node takes single rows of the tensor. */
function looksUp({ kind, node }: PartNode, name: string): boolean {
  const axis = node.attributes.get('axis')
  return (
    kind === 'original' &&
    node.domain === '' &&
    node.opType === 'Gather' &&
    (axis === undefined || (axis.kind === 'int' && axis.value === 0)) &&
    readsOf(node).every((read, i) => (read === name) === (i === 0))
  )
}

function jointBias(item: PartNode): string | null {
  if (item.kind !== 'original') return item.bias
  const { opType, domain, inputs } = item.node
  if (domain !== 'com.microsoft') return null
  if (opType === 'SkipSimplifiedLayerNormalization') return inputs[3] || null
  return opType === 'SkipLayerNormalization' ? inputs[4] || null : null
}

/** Names that a part's node reads, as it is written there. */
function namesIn(item: PartNode): string[] {
  if (item.kind === 'original') return readsOf(item.node)
  if (item.kind === 'sum')
    return [...item.node.inputs.slice(0, 2), ...(item.bias ? [item.bias] : [])]
  return [
    item.sum,
    ...item.node.inputs.slice(2).filter((name) => name !== '' && name !== item.bias),
  ]
}

export async function writeGraph(options: {
  model: OnnxModel
  layout: Layout
  quantised: ReadonlyMap<OnnxNode, QuantisedNode>
  weights: WeightPlan
  feeds: ReadonlyMap<string, Feed>
  read: (name: string) => Promise<Uint8Array>
}): Promise<CutGraph> {
  const { model, layout, quantised, weights, feeds } = options
  const givenBy = new Map<string, string>()
  for (const part of layout.parts)
    if (part.id.startsWith('prelude.'))
      for (const { node } of part.nodes)
        node.outputs.forEach((name) => givenBy.set(name, part.id))
  const chunks: Uint8Array[] = [model.header]
  let length = model.header.length
  const put = (fields: readonly Uint8Array[]): [number, number] => {
    const bytes = concat(fields)
    chunks.push(bytes)
    length += bytes.length
    return [length - bytes.length, bytes.length]
  }
  const pieces: Record<string, Piece> = {}
  const parts: readonly Part[] = [
    ...layout.parts,
    ...weights.declarations
      .filter(({ id }) => !layout.parts.some((part) => part.id === id))
      .map(({ id }) => ({ id, nodes: [] })),
  ]
  for (const part of parts) {
    const common: Uint8Array[] = []
    const variants = {
      packed: [] as Uint8Array[],
      dense: [] as Uint8Array[],
      lean: [] as Uint8Array[],
    }
    const needs = new Set<string>()
    const fed = new Set<string>()
    for (const item of part.nodes) {
      const matrix = quantised.get(item.node)
      if (matrix) {
        const fields = quantisedFields(matrix)
        variants.packed.push(...fields.packed)
        variants.dense.push(...fields.dense)
        variants.lean.push(...fields.lean)
      } else common.push(...nodeFields(item))
      for (const name of namesIn(item)) {
        const giver = givenBy.get(name)
        if (giver !== undefined && giver !== part.id) needs.add(giver)
        if (feeds.has(name)) fed.add(name)
      }
    }
    const blobs: string[] = []
    for (const { id, parts: readers, inline, blob } of weights.declarations) {
      if (id !== part.id) {
        if (readers.includes(part.id)) needs.add(id)
        continue
      }
      for (const tensor of inline)
        common.push(inlineField(tensor, await options.read(tensor.name)))
      const plan = weights.blobs.find((candidate) => candidate.id === blob)
      if (!plan) continue
      blobs.push(plan.id)
      common.push(...plan.fields.common)
      variants.packed.push(...plan.fields.packed)
      variants.dense.push(...plan.fields.dense)
      variants.lean.push(...plan.fields.lean)
    }
    const at = put(common)
    pieces[part.id] = {
      at,
      ...(Object.values(variants).some((fields) => fields.length > 0) && {
        variants: {
          packed: put(variants.packed),
          dense: put(variants.dense),
          lean: put(variants.lean),
        },
      }),
      needs: [...needs].sort(),
      feeds: [...fed].sort(),
      blobs,
    }
  }
  return { bytes: concat(chunks), header: [0, model.header.length], pieces }
}

function nodeFields(item: PartNode): Uint8Array[] {
  const { node } = item
  const field = (bytes: Uint8Array): Uint8Array => graphField('node', bytes)
  if (item.kind === 'original') return [field(node.bytes)]
  const [a = '', b = ''] = node.inputs
  if (item.kind === 'sum') {
    const plain = item.bias ? `${item.sum}/unbiased` : item.sum
    const sum = nodeProto({ opType: 'Add', inputs: [a, b], outputs: [plain] })
    if (!item.bias) return [field(sum)]
    const biased = nodeProto({
      opType: 'Add',
      inputs: [plain, item.bias],
      outputs: [item.sum],
    })
    return [field(sum), field(biased)]
  }
  // The same kernel with zeros to skip: bit for bit what the uncut node computes.
  const zeros = `${item.sum}/zeros`
  const epsilon = node.attributes.get('epsilon')
  const inputs = [item.sum, zeros, ...node.inputs.slice(2)]
  return [
    field(nodeProto({ opType: 'Sub', inputs: [item.sum, item.sum], outputs: [zeros] })),
    field(
      nodeProto({
        opType: node.opType,
        domain: node.domain,
        name: node.name,
        inputs: inputs.map((name) => (name === item.bias ? '' : name)),
        outputs: node.outputs,
        attributes:
          epsilon?.kind === 'float' ? { epsilon: { float: epsilon.value } } : {},
      }),
    ),
  ]
}
