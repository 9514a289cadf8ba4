/**
 * Where the hidden stream runs: which nodes carry it, which only do arithmetic on masks,
 * positions and shapes, and which tensors each node reads and gives.
 */
import type { Dtype } from '../manifest.ts'
import { ModelError } from '../onnx/error.ts'
import type { OnnxGraph, OnnxNode } from '../onnx/types.ts'
import type { Roles } from './roles.ts'

/** A fused residual addition and norm, `y, sum = Norm(a + b [+ bias])`. */
export interface Joint {
  readonly node: OnnxNode
  /** Name of the sum as a tensor of its own; it exists only where the model is cut here. */
  readonly sum: string
  readonly addends: readonly string[]
  readonly bias: string | null
  /** fp32: the sum may travel in place of its addends, bit for bit; fp16 would round it. */
  readonly travels: boolean
}

/** A vertex of the flow graph: a node, or half of a joint. */
export interface Vertex {
  readonly node: OnnxNode
  readonly half: 'whole' | 'add' | 'norm'
  readonly reads: readonly string[]
  readonly gives: readonly string[]
}

export interface Flow {
  /** Stream vertices in topological order. */
  readonly stream: readonly Vertex[]
  /** Nodes that depend on integer inputs, shapes and constants alone, in topological order. */
  readonly free: readonly OnnxNode[]
  readonly freeTensors: ReadonlySet<string>
  readonly joints: ReadonlyMap<OnnxNode, Joint>
  /** Tensor name to the vertex that gives it. */
  readonly producer: ReadonlyMap<string, number>
  /** Tensor name to the vertices that read it. */
  readonly readers: ReadonlyMap<string, readonly number[]>
}

const SHAPE_OPS = new Set(['Shape', 'Size'])

/** Names that a node reads, captured names of its subgraphs among them. */
export function readsOf(node: OnnxNode): string[] {
  return [...new Set([...node.inputs, ...node.captured])].filter((name) => name !== '')
}

/** Whether the node reads only the shape of its input, not the data. */
export function isShape(node: OnnxNode): boolean {
  return node.domain === '' && SHAPE_OPS.has(node.opType)
}

/** @param nodes in topological order. */
export function traceFlow(
  graph: OnnxGraph,
  nodes: readonly OnnxNode[],
  roles: Roles,
  dtypes: ReadonlyMap<string, Dtype>,
): Flow {
  const live = liveNodes(graph, nodes, roles)
  const freeTensors = new Set<string>([...graph.initializers.keys()])
  for (const name of roles.feeds.keys()) if (name !== roles.ids) freeTensors.add(name)
  const free: OnnxNode[] = []
  const stream: Vertex[] = []
  const joints = new Map<OnnxNode, Joint>()
  for (const node of live) {
    const reads = readsOf(node)
    const gives = node.outputs.filter((name) => name !== '')
    if (isShape(node) || reads.every((name) => freeTensors.has(name))) {
      free.push(node)
      gives.forEach((name) => freeTensors.add(name))
      continue
    }
    const data = reads.filter((name) => !freeTensors.has(name))
    const joint = jointOf(node, dtypes)
    if (joint && joint.addends.every((name) => data.includes(name))) {
      joints.set(node, joint)
      stream.push({ node, half: 'add', reads: joint.addends, gives: [joint.sum] })
      stream.push({ node, half: 'norm', reads: [joint.sum], gives })
    } else stream.push({ node, half: 'whole', reads: data, gives })
  }
  const producer = new Map<string, number>()
  const readers = new Map<string, number[]>()
  stream.forEach((vertex, i) => {
    vertex.gives.forEach((name) => producer.set(name, i))
    for (const name of vertex.reads) {
      const list = readers.get(name)
      if (list) list.push(i)
      else readers.set(name, [i])
    }
  })
  return { stream, free, freeTensors, joints, producer, readers }
}

/** Nodes that the logits or a cache output depend on, order kept. */
function liveNodes(
  graph: OnnxGraph,
  nodes: readonly OnnxNode[],
  roles: Roles,
): OnnxNode[] {
  const wanted = new Set<string>([
    roles.logits,
    ...roles.caches.map((cache) => cache.output),
  ])
  const live: OnnxNode[] = []
  for (const node of [...nodes].reverse()) {
    if (!node.outputs.some((name) => wanted.has(name))) continue
    live.push(node)
    readsOf(node).forEach((name) => wanted.add(name))
  }
  const missing = graph.outputs.find(
    ({ name }) => wanted.has(name) && !nodes.some((node) => node.outputs.includes(name)),
  )
  if (missing)
    throw new ModelError(`No node of the graph computes the output ${missing.name}.`)
  return live.reverse()
}

const JOINTS = new Map([
  // Contrib operators: input, skip, gamma[, beta], bias -> output, mean, inv_std, sum.
  ['SkipSimplifiedLayerNormalization', 3],
  ['SkipLayerNormalization', 4],
])

function jointOf(node: OnnxNode, dtypes: ReadonlyMap<string, Dtype>): Joint | null {
  const biasAt = node.domain === 'com.microsoft' ? JOINTS.get(node.opType) : undefined
  const [a, b] = node.inputs
  if (biasAt === undefined || !a || !b || a === b) return null
  if (node.outputs[1] || node.outputs[2]) return null
  const named = node.outputs[3] ?? node.outputs[0] ?? ''
  return {
    node,
    sum: `${named}/sum`,
    addends: [a, b],
    bias: node.inputs[biasAt] || null,
    travels: dtypes.get(a) === 'float32',
  }
}

/** Cache inputs whose data (not only shape) a tensor depends on, by tensor name. */
export function cachesBehind(
  flow: Flow,
  roles: Roles,
): (tensor: string) => ReadonlySet<string> {
  const cacheInputs = new Set(roles.caches.map((cache) => cache.input.name))
  const behind = flow.stream.map(() => new Set<string>())
  flow.stream.forEach((vertex, i) => {
    const own = behind[i]
    if (!own) return
    for (const name of vertex.reads) {
      if (cacheInputs.has(name)) own.add(name)
      const from = flow.producer.get(name)
      if (from !== undefined) behind[from]?.forEach((cache) => own.add(cache))
    }
  })
  const none: ReadonlySet<string> = new Set()
  return (tensor) => behind[flow.producer.get(tensor) ?? -1] ?? none
}

/**
 * Every cache must go on in its own layer: refuses graphs whose caches are crossed.
 * @throws ModelError
 */
export function checkCaches(flow: Flow, roles: Roles): void {
  const behind = cachesBehind(flow, roles)
  const layerOf = new Map(roles.caches.map((cache) => [cache.input.name, cache.layer]))
  for (const { layer, input, output } of roles.caches) {
    const reached = behind(output)
    if (!reached.has(input.name))
      throw new ModelError(
        `The cache output ${output} does not continue its input ${input.name}; the caches of the model are crossed.`,
      )
    const later = [...reached].find((name) => (layerOf.get(name) ?? 0) > layer)
    if (later !== undefined)
      throw new ModelError(
        `The cache output ${output} of layer ${layer} depends on ${later} of a later layer; the caches of the model are crossed.`,
      )
  }
}
