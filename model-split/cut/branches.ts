/**
 * Replaces each If whose condition is known by the branch that it takes. Merged exports are one
 * such node: its branches hold the decoder with and without past, and an input of its own
 * chooses. The branch with past serves an empty cache too, so a cut model has only that one.
 */
import { Reader } from 'protobufjs/minimal.js'
import { bytesField, concat, nodeProto } from '../link/wire.ts'
import { describe } from '../onnx/check.ts'
import { ModelError } from '../onnx/error.ts'
import { NODE } from '../onnx/schema.ts'
import type { OnnxGraph, OnnxNode, OnnxTensor, ValueInfo } from '../onnx/types.ts'

/** The input of merged exports that chooses the branch with past. */
export const USE_CACHE = 'use_cache_branch'

/** Whether the graph has a branch for an empty cache, and one for what follows. */
export function isMerged(graph: OnnxGraph): boolean {
  return graph.inputs.some(({ name }) => name === USE_CACHE)
}

/** @throws ModelError where a branch cannot be moved out of its node. */
export function foldBranches(graph: OnnxGraph): OnnxGraph {
  const merged = isMerged(graph)
  const fold = new Fold(
    merged ? [...graph.initializers, [USE_CACHE, YES]] : [...graph.initializers],
    graph,
  )
  for (const node of graph.nodes) fold.add(node)
  return {
    ...graph,
    nodes: fold.nodes,
    initializers: fold.initializers,
    valueInfo: fold.valueInfo,
    inputs: graph.inputs.filter(({ name }) => name !== USE_CACHE),
  }
}

const YES: OnnxTensor = {
  name: USE_CACHE,
  dtype: 'bool',
  dims: [1],
  bytes: 1,
  data: { kind: 'inline', bytes: Uint8Array.of(1) },
}

class Fold {
  readonly nodes: OnnxNode[] = []
  readonly initializers: Map<string, OnnxTensor>
  readonly valueInfo: Map<string, ValueInfo>
  /** Names that mean something already. */
  private readonly taken: Set<string>
  private readonly producers = new Map<string, OnnxNode>()

  constructor(
    initializers: Iterable<readonly [string, OnnxTensor]>,
    { nodes, inputs, valueInfo }: OnnxGraph,
  ) {
    this.initializers = new Map(initializers)
    this.valueInfo = new Map(valueInfo)
    this.taken = new Set([
      ...this.initializers.keys(),
      ...inputs.map(({ name }) => name),
      ...nodes.flatMap(({ outputs }) => outputs),
    ])
    for (const node of nodes) this.#produces(node)
  }

  add(node: OnnxNode): void {
    const branch = this.#branchOf(node)
    if (branch) this.#inline(node, branch)
    else this.nodes.push(node)
  }

  #produces(node: OnnxNode): void {
    for (const name of node.outputs) this.producers.set(name, node)
  }

  #branchOf(node: OnnxNode): OnnxGraph | null {
    if (node.opType !== 'If' || node.domain !== '') return null
    const condition = this.#truth(node.inputs[0] ?? '')
    if (condition === null) return null
    const branch = node.attributes.get(condition ? 'then_branch' : 'else_branch')
    return branch?.kind === 'graph' ? branch.value : null
  }

  /** What a boolean tensor is, or null where only a run can tell. */
  #truth(name: string): boolean | null {
    const initializer = this.initializers.get(name)
    if (initializer) return truthOf(initializer)
    const node = this.producers.get(name)
    if (node?.domain !== '') return null
    const value = node.attributes.get('value')
    switch (node.opType) {
      case 'Constant':
        return value?.kind === 'tensor' ? truthOf(value.value) : null
      case 'Identity':
      case 'Reshape':
      case 'Squeeze':
        return this.#truth(node.inputs[0] ?? '')
      case 'Not': {
        const operand = this.#truth(node.inputs[0] ?? '')
        return operand === null ? null : !operand
      }
      default:
        return null
    }
  }

  #inline(node: OnnxNode, branch: OnnxGraph): void {
    const nested = new Set(branch.nodes.flatMap(({ captured }) => captured))
    /** Names in the branch to names in the graph. */
    const names = new Map<string, string>()
    const own = new Set([
      ...branch.initializers.keys(),
      ...branch.nodes.flatMap(({ outputs }) => outputs),
    ])
    own.delete('')
    const copies: OnnxNode[] = []
    branch.outputs.forEach(({ name }, i) => {
      const given = node.outputs[i] ?? ''
      if (given === '') return
      const computed = own.has(name) && !branch.initializers.has(name)
      const fixed = nested.has(name) && name !== given
      if (computed && !fixed && !names.has(name)) names.set(name, given)
      else copies.push(identity(name, given))
    })
    for (const name of own) {
      if (names.has(name)) continue
      const free = this.#freeName(name)
      if (free !== name && nested.has(name))
        throw new ModelError(
          `A graph inside the ${describe(node)} reads its tensor "${name}", and another tensor of the model has that name; export the model again.`,
        )
      names.set(name, free)
    }
    for (const [name, tensor] of branch.initializers) {
      const free = names.get(name) ?? name
      this.initializers.set(free, { ...tensor, name: free })
    }
    for (const info of [...branch.valueInfo.values(), ...branch.outputs]) {
      const name = names.get(info.name)
      if (name !== undefined) this.valueInfo.set(name, { ...info, name })
    }
    const moved = [...branch.nodes, ...copies].flatMap((inner): OnnxNode[] => {
      // A large weight left the branch and is read through a node that gives it its old name.
      const [weight = '', ...more] = inner.inputs
      const alias = inner.opType === 'Identity' && more.length === 0 && !own.has(weight)
      const kept = node.outputs.includes(names.get(inner.outputs[0] ?? '') ?? '')
      if (
        alias &&
        !kept &&
        this.initializers.has(weight) &&
        !nested.has(inner.outputs[0] ?? '')
      ) {
        names.set(inner.outputs[0] ?? '', weight)
        return []
      }
      return [inner]
    })
    for (const inner of moved.map((inner) => renamed(inner, names))) this.#produces(inner)
    for (const inner of moved) this.add(renamed(inner, names))
  }

  #freeName(name: string): string {
    let free = name
    for (let n = 1; this.taken.has(free); n++) free = `${name}/branch_${n}`
    this.taken.add(free)
    return free
  }
}

function truthOf({ dtype, bytes, data }: OnnxTensor): boolean | null {
  return dtype === 'bool' && bytes === 1 && data.kind === 'inline'
    ? data.bytes[0] !== 0
    : null
}

function identity(input: string, output: string): OnnxNode {
  const parts = { opType: 'Identity', inputs: [input], outputs: [output] }
  const rest = { name: '', domain: '', attributes: new Map(), captured: [] }
  return { ...parts, ...rest, bytes: nodeProto(parts) }
}

/** The node with other names for what it reads and gives; its own graphs keep theirs. */
function renamed(node: OnnxNode, names: ReadonlyMap<string, string>): OnnxNode {
  const to = (name: string): string => names.get(name) ?? name
  const inputs = node.inputs.map(to)
  const outputs = node.outputs.map(to)
  const reader = new Reader(node.bytes)
  const rest: Uint8Array[] = []
  while (reader.pos < reader.len) {
    const start = reader.pos
    const tag = reader.uint32()
    reader.skipType(tag & 7)
    const field = tag >>> 3
    if (field !== NODE.input && field !== NODE.output)
      rest.push(node.bytes.subarray(start, reader.pos))
  }
  const bytes = concat([
    ...inputs.map((name) => bytesField(NODE.input, name)),
    ...outputs.map((name) => bytesField(NODE.output, name)),
    ...rest,
  ])
  return { ...node, inputs, outputs, bytes }
}
