/** Reads the few ONNX fields that the engine looks at in a linked model. Numbers: onnx.proto. */
export const MODEL = { graph: 7 } as const
export const GRAPH = { node: 1, initializer: 5 } as const
export const NODE = { input: 1, output: 2, name: 3, opType: 4, attribute: 5 } as const
export const ATTRIBUTE = { graph: 6, graphs: 11 } as const
export const TENSOR = { dims: 1, type: 2, name: 8, external: 13 } as const
export const ENTRY = { key: 1, value: 2 } as const

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
