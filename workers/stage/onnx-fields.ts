/** Reads the few ONNX fields that the engine looks at in a linked model. Numbers: onnx.proto. */
export const MODEL = { graph: 7 } as const
export const GRAPH = { node: 1, name: 2, initializer: 5, input: 11, output: 12 } as const
export const NODE = { input: 1, output: 2, name: 3, opType: 4, attribute: 5 } as const
export const ATTRIBUTE = { name: 1, float: 2, int: 3, graph: 6, graphs: 11 } as const
export const TENSOR = { dims: 1, type: 2, name: 8, external: 13 } as const
export const ENTRY = { key: 1, value: 2 } as const
export const VALUE_INFO = { name: 1, type: 2 } as const
/** A tensor among the types, and what a tensor is made of. */
export const TYPE = { tensor: 1, element: 1 } as const

export interface Field {
  readonly number: number
  /** Tag and value as they stand in the message. */
  readonly raw: Uint8Array
  /** What a length-delimited field holds; empty for others. */
  readonly bytes: Uint8Array
  /** The value of a varint field; 0 for others. */
  readonly value: number
}

const EMPTY: Uint8Array = new Uint8Array(0)

/** All fields of a protobuf message. */
export function* allFields(message: Uint8Array): Generator<Field> {
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let factor = 1; at < message.length; factor *= 128) {
      const byte = message[at++] ?? 0
      value += (byte & 127) * factor
      if (byte < 128) break
    }
    return value
  }
  while (at < message.length) {
    const start = at
    const tag = varint()
    const wire = tag % 8
    let value = 0
    let bytes: Uint8Array = EMPTY
    if (wire === 0) value = varint()
    else if (wire === 1) at += 8
    else if (wire === 5) at += 4
    else {
      const length = varint()
      bytes = message.subarray(at, at + length)
      at += length
    }
    yield { number: Math.floor(tag / 8), raw: message.subarray(start, at), bytes, value }
  }
}

/** What the length-delimited fields of one number hold. */
export function* fields(message: Uint8Array, number: number): Generator<Uint8Array> {
  for (const field of allFields(message)) if (field.number === number) yield field.bytes
}

const decoder = new TextDecoder()

export function texts(message: Uint8Array, number: number): string[] {
  return [...fields(message, number)].map((bytes) => decoder.decode(bytes))
}

/** Nodes of a graph and of the graphs inside it. */
export function* nodesOf(graph: Uint8Array): Generator<Uint8Array> {
  for (const node of fields(graph, GRAPH.node)) {
    yield node
    for (const attribute of fields(node, NODE.attribute))
      for (const number of [ATTRIBUTE.graph, ATTRIBUTE.graphs])
        for (const inner of fields(attribute, number)) yield* nodesOf(inner)
  }
}

/** Where and how long a tensor is in external data; null where it is not there. */
export function readExternal(tensor: Uint8Array): {
  readonly location: string
  readonly offset: number
  readonly length: number
} | null {
  const entries = new Map<string, string>()
  for (const entry of fields(tensor, TENSOR.external))
    entries.set(texts(entry, ENTRY.key)[0] ?? '', texts(entry, ENTRY.value)[0] ?? '')
  const location = entries.get('location')
  if (location === undefined) return null
  const number = (key: string) => Number(entries.get(key) ?? 0)
  return { location, offset: number('offset'), length: number('length') }
}

/** Bytes that the initialisers which nodes read take of each external data file. */
export function externalBytes(model: Uint8Array): Map<string, number> {
  const bytes = new Map<string, number>()
  for (const graph of fields(model, MODEL.graph)) {
    const read = new Set([...nodesOf(graph)].flatMap((node) => texts(node, NODE.input)))
    for (const tensor of fields(graph, GRAPH.initializer)) {
      const place = readExternal(tensor)
      if (!place || !read.has(texts(tensor, TENSOR.name)[0] ?? '')) continue
      const { location, length } = place
      bytes.set(location, (bytes.get(location) ?? 0) + length)
    }
  }
  return bytes
}

export function sumOf(numbers: Iterable<number>): number {
  return [...numbers].reduce((sum, one) => sum + one, 0)
}
