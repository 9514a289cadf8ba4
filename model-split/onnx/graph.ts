/** Reads graphs: the model's own, and those inside the nodes of an If, a Loop or a Scan. */
import { bytesField, concat } from '../link/wire.ts'
import { ModelError } from './error.ts'
import { payload } from './fields.ts'
import type { Extent } from './fields.ts'
import { mustLeave } from './hoist.ts'
import { assemble, readNode } from './node.ts'
import type { Reading } from './reading.ts'
import { GRAPH } from './schema.ts'
import { readTensorProto } from './tensor.ts'
import type { OnnxGraph, OnnxNode, OnnxTensor, ValueInfo } from './types.ts'
import { readValueInfo } from './values.ts'

/** Deeper subgraphs come from no exporter; they would only exhaust the stack. */
const DEEPEST = 16

interface Parts {
  readonly nodes: OnnxNode[]
  readonly initializers: Map<string, OnnxTensor>
  readonly inputs: ValueInfo[]
  readonly outputs: ValueInfo[]
  readonly valueInfo: Map<string, ValueInfo>
}

/** Reads the model's own graph; tensors that leave nodes become initialisers of it. */
export async function readGraph(reading: Reading, extent: Extent): Promise<OnnxGraph> {
  const parts = noParts()
  await reading.file.each(extent, async (field) => {
    const { number } = field
    const at = payload(reading.file, field)
    if (number === GRAPH.node) {
      const node = await readNode(reading, at, readSubgraph)
      if ('constant' in node) addInitializer(reading, parts, node.output, node.constant)
      else parts.nodes.push(node)
    } else if (number === GRAPH.initializer) {
      const tensor = await readInitializer(reading, at)
      if (tensor) addInitializer(reading, parts, tensor.name, tensor)
    } else await readRest(reading, parts, number, at)
  })
  for (const [name, tensor] of reading.hoisted.tensors)
    addInitializer(reading, parts, name, tensor)
  return finished(parts)
}

/**
 * Reads a graph inside a node. Large tensors leave it for the model's own graph: a node
 * would otherwise carry weights into every piece that it becomes part of.
 */
export async function readSubgraph(
  outer: Reading,
  extent: Extent,
): Promise<{ readonly graph: OnnxGraph; readonly bytes: Uint8Array }> {
  const reading = { ...outer, depth: outer.depth + 1 }
  const { file, hoisted } = reading
  if (reading.depth > DEEPEST)
    throw new ModelError(`${file.path} nests graphs deeper than any export does.`)
  const parts = noParts()
  /** Nodes that stand in for tensors that left; ahead of those that read them. */
  const standIns: OnnxNode[] = []
  const rest: (Extent | Uint8Array)[] = []
  await file.each(extent, async (field) => {
    const { number, whole } = field
    const at = payload(file, field)
    if (number === GRAPH.node) {
      const node = await readNode(reading, at, readSubgraph)
      if ('constant' in node) standIns.push(hoisted.take(node.output, node.constant))
      else {
        parts.nodes.push(node)
        rest.push(bytesField(GRAPH.node, node.bytes))
      }
      return
    }
    if (number === GRAPH.initializer) {
      const tensor = await readInitializer(reading, at)
      if (tensor && mustLeave(tensor)) {
        standIns.push(hoisted.take(tensor.name, tensor))
        return
      }
      if (tensor) parts.initializers.set(tensor.name, tensor)
    } else await readRest(reading, parts, number, at)
    rest.push(whole)
  })
  parts.nodes.unshift(...standIns)
  const first = standIns.map((node) => bytesField(GRAPH.node, node.bytes))
  const bytes = await assemble(file, [concat(first), ...rest], 'A subgraph')
  return { graph: finished(parts), bytes }
}

function noParts(): Parts {
  return {
    nodes: [],
    initializers: new Map(),
    inputs: [],
    outputs: [],
    valueInfo: new Map(),
  }
}

function finished(parts: Parts): OnnxGraph {
  // Up to IR version 3 every initialiser was listed as an input too.
  const inputs = parts.inputs.filter((input) => !parts.initializers.has(input.name))
  return { ...parts, inputs }
}

async function readInitializer(
  { file, external, depth }: Reading,
  at: Extent,
): Promise<OnnxTensor | null> {
  await file.ahead({ start: at.start, end: Math.min(at.end, at.start + 512) })
  const unknown = depth === 0 ? 'refuse' : 'skip'
  const tensor = await readTensorProto(file, external, at, '', unknown)
  if (depth === 0 && tensor?.name === '')
    throw new ModelError(`An initialiser in ${file.path} has no name; export it again.`)
  return tensor
}

function addInitializer(
  { file }: Reading,
  parts: Parts,
  name: string,
  tensor: OnnxTensor,
): void {
  if (parts.initializers.has(name))
    throw new ModelError(
      `Two initialisers in ${file.path} are called "${name}"; export the model again.`,
    )
  parts.initializers.set(name, tensor.name === name ? tensor : { ...tensor, name })
}

async function readRest(
  { file }: Reading,
  parts: Parts,
  number: number,
  at: Extent,
): Promise<void> {
  if (number === GRAPH.input) parts.inputs.push(await readValueInfo(file, at))
  else if (number === GRAPH.output) parts.outputs.push(await readValueInfo(file, at))
  else if (number === GRAPH.valueInfo) {
    const info = await readValueInfo(file, at)
    parts.valueInfo.set(info.name, info)
  } else if (number === GRAPH.sparseInitializer)
    throw new ModelError(
      `${file.path} has sparse initialisers, which Choir cannot cut; export the model with dense weights.`,
    )
}
