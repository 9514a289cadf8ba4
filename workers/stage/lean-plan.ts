/**
 * Takes the products with int8 matrices, the look-ups of a tied embedding and the attention on
 * shared caches out of a lean graph. What is left falls into pieces, each a graph of its own: a
 * piece, then what reads what it gave, then the next piece.
 */
import { bytesField, concat, DATA_TYPE, graphField } from '../../model-split/link/wire.ts'
import { MOST_BLOCK } from './int8-kernel.ts'
import { attentionOf, readsOf, type LeanAttention } from './lean-attention.ts'
import {
  allFields,
  ATTRIBUTE,
  fields,
  GRAPH,
  MODEL,
  NODE,
  readExternal,
  TENSOR,
  texts,
  TYPE,
  VALUE_INFO,
} from './onnx-fields.ts'

/** Where weights lie in an external data file. */
export interface Place {
  readonly location: string
  readonly offset: number
}

/** An int8 matrix `[k, n]` with float32 scales `[k / block, n]`. */
export interface LeanMatrix {
  readonly name: string
  readonly k: number
  readonly n: number
  readonly block: number
  readonly q: Place
  readonly scales: Place
}

export type LeanOperation =
  | LeanAttention
  /** `output[…, n] = input[…, k] · matrix` */
  | {
      readonly kind: 'product'
      readonly input: string
      readonly output: string
      readonly matrix: string
    }
  /** Columns of the matrix, or their scales, as the packed form holds them. */
  | {
      readonly kind: 'lookup' | 'scales'
      readonly input: string
      readonly output: string
      readonly matrix: string
    }

export interface LeanPiece {
  /** Fields of a GraphProto, but for inputs and outputs. */
  readonly body: Uint8Array
  /** Names. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
}

export interface LeanStep {
  /** Null where nothing stands between two rows of operations. */
  readonly piece: LeanPiece | null
  /** After the piece. */
  readonly operations: readonly LeanOperation[]
}

export interface LeanPlan {
  readonly matrices: ReadonlyMap<string, LeanMatrix>
  readonly steps: readonly LeanStep[]
  /** ValueInfoProto of the model's inputs and outputs, by name. */
  readonly declared: ReadonlyMap<string, Uint8Array>
  /** Fields of the ModelProto, but for its graph. */
  readonly header: Uint8Array
}

interface Tensor extends Place {
  readonly name: string
  readonly dims: readonly number[]
  readonly raw: Uint8Array
}

interface Node {
  readonly opType: string
  /** Also what graphs inside it read. */
  readonly reads: readonly string[]
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** The attribute of that name, 0 where there is none. */
  readonly axis: number
  /** The NodeProto, and the field that holds it. */
  readonly bytes: Uint8Array
  readonly raw: Uint8Array
}

/** Whether float32 `[n, blocks]` are the scales of a matrix. */
export type ScalesCheck = (place: Place, matrix: LeanMatrix) => boolean

/**
 * @param model a linked ModelProto in lean form.
 * @param columns whose multiples a matrix may have.
 * @param inPlace past and present of the caches are one buffer each.
 */
export function planLean(
  model: Uint8Array,
  columns: number,
  inPlace: boolean,
  isScales: ScalesCheck,
): LeanPlan {
  const [graph = new Uint8Array(0)] = fields(model, MODEL.graph)
  const nodes: Node[] = []
  const tensors = new Map<string, Tensor>()
  const declared = new Map<string, Uint8Array>()
  const outputs: string[] = []
  for (const { number, bytes, raw } of allFields(graph)) {
    if (number === GRAPH.node) nodes.push(readNode(bytes, raw))
    else if (number === GRAPH.initializer) {
      const tensor = readTensor(bytes, raw)
      tensors.set(tensor.name, tensor)
    } else if (number === GRAPH.input || number === GRAPH.output) {
      const [name = ''] = texts(bytes, VALUE_INFO.name)
      declared.set(name, bytes)
      if (number === GRAPH.output) outputs.push(name)
    }
  }
  const { matrices, operations, replaced } = findOperations(
    nodes,
    tensors,
    columns,
    isScales,
  )
  if (inPlace)
    for (const node of nodes) {
      const attention = attentionOf(node.bytes)
      if (!attention || !isFloat32(declared.get(attention.keys))) continue
      // A table that is a weight of the session itself is not at hand.
      if (readsOf(attention).some((name) => tensors.has(name))) continue
      operations.push(attention)
      replaced.add(node)
    }
  const rest = nodes.filter((node) => !replaced.has(node))
  const header = [...allFields(model)].filter(({ number }) => number !== MODEL.graph)
  return {
    matrices,
    steps: arrange(rest, operations, tensors, outputs),
    declared,
    header: concat(header.map(({ raw }) => raw)),
  }
}

/** A ModelProto of one piece. @param describe ValueInfoProto of what crosses pieces. */
export function pieceModel(
  { header, declared }: LeanPlan,
  { body, inputs, outputs }: LeanPiece,
  describe: (name: string) => Uint8Array,
): Uint8Array {
  const named = (name: string): Uint8Array =>
    declared.get(name) ?? bytesField(VALUE_INFO.name, name)
  const rim = [
    ...inputs.map((name) => graphField('input', declared.get(name) ?? describe(name))),
    ...outputs.map((name) => graphField('output', named(name))),
  ]
  const graph = concat([bytesField(GRAPH.name, 'choir'), body, ...rim])
  return concat([header, bytesField(MODEL.graph, graph)])
}

/** Dequantised matrices that are read once, by the product that follows. */
function findOperations(
  nodes: readonly Node[],
  tensors: ReadonlyMap<string, Tensor>,
  columns: number,
  isScales: ScalesCheck,
) {
  const readers = new Map<string, Node[]>()
  for (const node of nodes)
    for (const name of node.reads) readers.set(name, [...(readers.get(name) ?? []), node])
  const only = (name: string): Node | null => {
    const all = readers.get(name) ?? []
    return all.length === 1 ? (all[0] ?? null) : null
  }
  const matrices = new Map<string, LeanMatrix>()
  const operations: LeanOperation[] = []
  const replaced = new Set<Node>()
  for (const node of nodes) {
    if (node.opType !== 'DequantizeLinear') continue
    const [qName = '', scaleName = '', zeros] = node.inputs
    const [expanded = ''] = node.outputs
    const [q, scales] = [tensors.get(qName), tensors.get(scaleName)]
    const multiply = only(expanded)
    const [input = '', right] = multiply?.inputs ?? []
    const [output] = multiply?.outputs ?? []
    if (multiply?.opType !== 'MatMul' || right !== expanded || output === undefined)
      continue
    if (zeros || !only(qName) || !only(scaleName)) continue
    const matrix = q && scales ? matrixOf(q, scales, columns) : null
    if (!matrix) continue
    matrices.set(qName, matrix)
    operations.push({ kind: 'product', input, output, matrix: qName })
    replaced.add(node).add(multiply)
  }
  for (const node of nodes) {
    if (node.opType !== 'Gather' || node.axis !== 0) continue
    const [name = '', input = ''] = node.inputs
    const [output = ''] = node.outputs
    const table = tensors.get(name)
    const found = table && findTable(table, matrices, tensors, isScales)
    if (!found) continue
    operations.push({ ...found, input, output })
    replaced.add(node)
  }
  return { matrices, operations, replaced }
}

/** The packed form of 8-bit weights `[n, blocks, block]`, or its scales `[n, blocks]`. */
function findTable(
  table: Tensor,
  matrices: ReadonlyMap<string, LeanMatrix>,
  tensors: ReadonlyMap<string, Tensor>,
  isScales: ScalesCheck,
): { readonly kind: 'lookup' | 'scales'; readonly matrix: string } | null {
  for (const [matrix, one] of matrices) {
    const { k, n, block } = one
    // As the cutter calls the lean form of a packed tensor.
    const packed = tensors.get(matrix.replace(/\/lean$/, ''))
    if (packed?.dims.join() !== [n, k / block, block].join()) continue
    if (table === packed) return { kind: 'lookup', matrix }
    const near = table.location === packed.location
    if (near && table.dims.join() === [n, k / block].join() && isScales(table, one))
      return { kind: 'scales', matrix }
  }
  return null
}

function matrixOf(q: Tensor, scales: Tensor, columns: number): LeanMatrix | null {
  const [k = 0, n = 0] = q.dims
  const [blocks = 0, width = 0] = scales.dims
  const block = k / blocks
  const flat = q.dims.length === 2 && scales.dims.length === 2 && width === n
  const even =
    Number.isInteger(block) &&
    block % 16 === 0 &&
    block <= MOST_BLOCK &&
    n % columns === 0
  if (!flat || !even || !q.location || !scales.location) return null
  return { name: q.name, k, n, block, q, scales }
}

/** Each node as early as what it reads is there; an operation's result is there one step later. */
function arrange(
  nodes: readonly Node[],
  operations: readonly LeanOperation[],
  tensors: ReadonlyMap<string, Tensor>,
  results: readonly string[],
): LeanStep[] {
  const sources = new Map<string, Node | LeanOperation>()
  for (const node of nodes) for (const name of node.outputs) sources.set(name, node)
  for (const one of operations) sources.set(one.output, one)
  const levels = new Map<string, number>()
  const levelOf = (name: string): number => {
    const known = levels.get(name)
    if (known !== undefined) return known
    const source = sources.get(name)
    let level = 0
    if (source && 'kind' in source) level = levelAt(source) + 1
    else if (source) level = Math.max(0, ...source.reads.map(levelOf))
    levels.set(name, level)
    return level
  }
  const levelAt = (one: LeanOperation): number =>
    Math.max(0, ...inputsOf(one).map(levelOf))
  const nodeLevels = nodes.map((node) => Math.max(0, ...node.reads.map(levelOf)))
  const last = Math.max(0, ...nodeLevels, ...operations.map(levelAt))
  const steps: LeanStep[] = []
  for (let level = 0; level <= last; level++) {
    const own = nodes.filter((_, i) => nodeLevels[i] === level)
    const given = new Set(own.flatMap((node) => node.outputs))
    const read = new Set(own.flatMap((node) => node.reads))
    const elsewhere = new Set([
      ...results,
      ...operations.flatMap(inputsOf),
      ...nodes.filter((_, i) => nodeLevels[i] !== level).flatMap((node) => node.reads),
    ])
    const body = [...read].flatMap((name) => tensors.get(name)?.raw ?? [])
    const piece: LeanPiece = {
      body: concat([...body, ...own.map(({ raw }) => raw)]),
      inputs: [...read].filter((name) => name && !given.has(name) && !tensors.has(name)),
      outputs: [...given].filter((name) => name && elsewhere.has(name)),
    }
    steps.push({
      piece: own.length > 0 ? piece : null,
      operations: operations.filter((one) => levelAt(one) === level),
    })
  }
  return steps
}

/** Of an input of the graph. */
function isFloat32(valueInfo: Uint8Array = new Uint8Array(0)): boolean {
  for (const type of fields(valueInfo, VALUE_INFO.type))
    for (const tensor of fields(type, TYPE.tensor))
      for (const { number, value } of allFields(tensor))
        if (number === TYPE.element) return value === DATA_TYPE.float32
  return false
}

function inputsOf(one: LeanOperation): readonly string[] {
  return one.kind === 'attention' ? readsOf(one) : [one.input]
}

function readNode(bytes: Uint8Array, raw: Uint8Array): Node {
  const inputs = texts(bytes, NODE.input)
  const outputs = texts(bytes, NODE.output)
  return {
    opType: texts(bytes, NODE.opType)[0] ?? '',
    inputs,
    reads: [...inputs, ...readInside(bytes)].filter((name) => name !== ''),
    outputs,
    axis: readAxis(bytes),
    bytes,
    raw,
  }
}

function readAxis(node: Uint8Array): number {
  for (const attribute of fields(node, NODE.attribute))
    if (texts(attribute, ATTRIBUTE.name)[0] === 'axis')
      for (const { number, value } of allFields(attribute))
        if (number === ATTRIBUTE.int) return value
  return 0
}

/** What graphs inside a node read from outside. */
function readInside(node: Uint8Array): string[] {
  const found: string[] = []
  for (const attribute of fields(node, NODE.attribute))
    for (const number of [ATTRIBUTE.graph, ATTRIBUTE.graphs])
      for (const graph of fields(attribute, number)) {
        const inner = [...fields(graph, GRAPH.node)]
        const own = new Set([
          ...inner.flatMap((one) => texts(one, NODE.output)),
          ...[...fields(graph, GRAPH.initializer)].flatMap((one) =>
            texts(one, TENSOR.name),
          ),
          ...[...fields(graph, GRAPH.input)].flatMap((one) =>
            texts(one, VALUE_INFO.name),
          ),
        ])
        const results = [...fields(graph, GRAPH.output)].flatMap((one) =>
          texts(one, VALUE_INFO.name),
        )
        const read = inner.flatMap((one) => [
          ...texts(one, NODE.input),
          ...readInside(one),
        ])
        found.push(...[...read, ...results].filter((name) => !own.has(name)))
      }
  return found
}

function readTensor(bytes: Uint8Array, raw: Uint8Array): Tensor {
  const place = readExternal(bytes)
  return {
    name: texts(bytes, TENSOR.name)[0] ?? '',
    dims: [...allFields(bytes)]
      .filter((f) => f.number === TENSOR.dims)
      .map((f) => f.value),
    location: place?.location ?? '',
    offset: place?.offset ?? 0,
    raw,
  }
}
