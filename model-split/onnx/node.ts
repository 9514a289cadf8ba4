/** Reads nodes and their attributes. */
import { bytesField, concat } from '../link/wire.ts'
import { ModelError } from './error.ts'
import { floats, integer, integers, payload } from './fields.ts'
import type { Extent, MessageFile } from './fields.ts'
import { mustLeave } from './hoist.ts'
import type { Reading, ReadSubgraph } from './reading.ts'
import { ATTRIBUTE, ATTRIBUTE_TYPE, NODE } from './schema.ts'
import { readTensorProto } from './tensor.ts'
import type { Attribute, OnnxGraph, OnnxNode, OnnxTensor } from './types.ts'

/** A node without its tensors is small; nothing that large is a node. */
const LARGEST_NODE = 64 * 2 ** 20

/** A part of a message: as it is in the file, or replaced. */
type Part = Extent | Uint8Array

/** The node, or for a Constant whose tensor must leave it, that tensor. */
export async function readNode(
  reading: Reading,
  extent: Extent,
  readSubgraph: ReadSubgraph,
): Promise<OnnxNode | { readonly output: string; readonly constant: OnnxTensor }> {
  const { file } = reading
  await file.ahead(extent)
  const inputs: string[] = []
  const outputs: string[] = []
  const attributes = new Map<string, Attribute>()
  const parts: Part[] = []
  const texts = { name: '', opType: '', domain: '' }
  await file.each(extent, async (field) => {
    let part: Part = field.whole
    const text = (): Promise<string> => file.text(payload(file, field))
    if (field.number === NODE.input) inputs.push(await text())
    else if (field.number === NODE.output) outputs.push(await text())
    else if (field.number === NODE.name) texts.name = await text()
    else if (field.number === NODE.opType) texts.opType = await text()
    else if (field.number === NODE.domain) texts.domain = await text()
    else if (field.number === NODE.attribute) {
      const read = await readAttribute(reading, payload(file, field), readSubgraph)
      attributes.set(read.name, read.attribute)
      if (read.bytes) part = bytesField(NODE.attribute, read.bytes)
    }
    parts.push(part)
  })
  const domain = texts.domain === 'ai.onnx' ? '' : texts.domain
  const what = `Node "${texts.name || (outputs[0] ?? '')}" (${texts.opType})`
  const value = attributes.get('value')
  if (texts.opType === 'Constant' && domain === '' && value?.kind === 'tensor')
    if (mustLeave(value.value)) return { output: outputs[0] ?? '', constant: value.value }
  checkAttributes(what, file, attributes)
  const bytes = parts.some((part) => part instanceof Uint8Array)
    ? await assemble(file, parts, what)
    : await limited(file, extent, what)
  const captured = capturedBy(subgraphs(attributes.values()))
  return { ...texts, domain, inputs, outputs, attributes, captured, bytes }
}

/** Names that the graphs read from outside themselves, each once. */
export function capturedBy(graphs: readonly OnnxGraph[]): string[] {
  const captured = new Set<string>()
  for (const graph of graphs) {
    const own = new Set(graph.initializers.keys())
    for (const { name } of graph.inputs) own.add(name)
    for (const node of graph.nodes) for (const name of node.outputs) own.add(name)
    const read = graph.nodes.flatMap((node) => [...node.inputs, ...node.captured])
    for (const name of [...read, ...graph.outputs.map((output) => output.name)])
      if (name !== '' && !own.has(name)) captured.add(name)
  }
  return [...captured]
}

/** All subgraphs among the attributes. */
export function subgraphs(attributes: Iterable<Attribute>): OnnxGraph[] {
  return [...attributes].flatMap((attribute) => {
    if (attribute.kind === 'graph') return [attribute.value]
    return attribute.kind === 'graphs' ? [...attribute.value] : []
  })
}

/** The message that the parts make up. */
export async function assemble(
  file: MessageFile,
  parts: readonly Part[],
  what: string,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for (const part of parts)
    chunks.push(part instanceof Uint8Array ? part : await limited(file, part, what))
  return concat(chunks)
}

async function limited(
  file: MessageFile,
  extent: Extent,
  what: string,
): Promise<Uint8Array> {
  const size = extent.end - extent.start
  if (size <= LARGEST_NODE) return file.bytes(extent)
  throw new ModelError(
    `${what} in ${file.path} holds ${size} bytes in itself, more than Choir takes; export the model with its weights as initialisers.`,
  )
}

/** A linked model has no file beside it that an attribute could refer to. */
function checkAttributes(
  what: string,
  file: MessageFile,
  attributes: ReadonlyMap<string, Attribute>,
): void {
  for (const [name, attribute] of attributes) {
    if (attribute.kind !== 'tensor') continue
    const { data } = attribute.value
    if (data.kind === 'file' && data.file !== file.path)
      throw new ModelError(
        `${what} keeps its attribute "${name}" in ${data.file}, which Choir cannot cut; export the model with that tensor as an initialiser.`,
      )
  }
}

interface ReadAttribute {
  readonly name: string
  readonly attribute: Attribute
  /** The message's new bytes where large tensors have left its subgraphs. */
  readonly bytes: Uint8Array | null
}

async function readAttribute(
  reading: Reading,
  extent: Extent,
  readSubgraph: ReadSubgraph,
): Promise<ReadAttribute> {
  const { file } = reading
  const found = {
    name: '',
    type: 0,
    float: 0,
    int: 0,
    string: '',
    floats: new Array<number>(),
    ints: new Array<number>(),
    strings: new Array<string>(),
    tensor: null as OnnxTensor | null,
    graphs: new Array<OnnxGraph>(),
  }
  const parts: Part[] = []
  await file.each(extent, async (field) => {
    let part: Part = field.whole
    const text = (): Promise<string> => file.text(payload(file, field))
    switch (field.number) {
      case ATTRIBUTE.name:
        found.name = await text()
        break
      case ATTRIBUTE.type:
        found.type = integer(file, field)
        break
      case ATTRIBUTE.f:
        found.float = (await floats(file, field))[0] ?? 0
        break
      case ATTRIBUTE.i:
        found.int = integer(file, field)
        break
      case ATTRIBUTE.s:
        found.string = await text()
        break
      case ATTRIBUTE.t:
        found.tensor = await readTensorProto(
          file,
          reading.external,
          payload(file, field),
          found.name,
          'skip',
        )
        break
      case ATTRIBUTE.g:
      case ATTRIBUTE.graphs: {
        const inner = await readSubgraph(reading, payload(file, field))
        found.graphs.push(inner.graph)
        part = bytesField(field.number, inner.bytes)
        break
      }
      case ATTRIBUTE.floats:
        for (const float of await floats(file, field)) found.floats.push(float)
        break
      case ATTRIBUTE.ints:
        for (const int of await integers(file, field)) found.ints.push(Number(int))
        break
      case ATTRIBUTE.strings:
        found.strings.push(await text())
        break
      default:
        break
    }
    parts.push(part)
  })
  const replaced = parts.some((part) => part instanceof Uint8Array)
  const bytes = replaced ? await assemble(file, parts, `Attribute "${found.name}"`) : null
  return { name: found.name, attribute: attributeOf(found), bytes }
}

interface Found {
  readonly type: number
  readonly float: number
  readonly int: number
  readonly string: string
  readonly floats: readonly number[]
  readonly ints: readonly number[]
  readonly strings: readonly string[]
  readonly tensor: OnnxTensor | null
  readonly graphs: readonly OnnxGraph[]
}

function attributeOf(found: Found): Attribute {
  const { tensor } = found
  const graph = found.graphs[0]
  switch (found.type) {
    case ATTRIBUTE_TYPE.float:
      return { kind: 'float', value: found.float }
    case ATTRIBUTE_TYPE.int:
      return { kind: 'int', value: found.int }
    case ATTRIBUTE_TYPE.string:
      return { kind: 'string', value: found.string }
    case ATTRIBUTE_TYPE.tensor:
      return tensor ? { kind: 'tensor', value: tensor } : { kind: 'other' }
    case ATTRIBUTE_TYPE.graph:
      return graph ? { kind: 'graph', value: graph } : { kind: 'other' }
    case ATTRIBUTE_TYPE.floats:
      return { kind: 'floats', value: found.floats }
    case ATTRIBUTE_TYPE.ints:
      return { kind: 'ints', value: found.ints }
    case ATTRIBUTE_TYPE.strings:
      return { kind: 'strings', value: found.strings }
    case ATTRIBUTE_TYPE.graphs:
      return { kind: 'graphs', value: found.graphs }
    default:
      return { kind: 'other' }
  }
}
