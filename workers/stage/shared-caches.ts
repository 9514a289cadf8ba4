/**
 * Whether past and present of every cache may be one buffer. GroupQueryAttention then writes
 * new rows behind the old ones, and takes the number of valid rows from `seqlens_k` instead of
 * the buffer's shape; so nothing else may look at a cache.
 */
import type { Cache } from '../../model-split/manifest.ts'

/** Field numbers of onnx.proto. */
const MODEL_GRAPH = 7
const GRAPH_NODE = 1
const NODE = { input: 1, output: 2, opType: 4, attribute: 5 } as const
const ATTRIBUTE = { graph: 6, graphs: 11 } as const
const PAST = { key: 3, value: 4 } as const
const PRESENT = { key: 1, value: 2 } as const

/** @param model a serialized ModelProto without weights */
export function cachesAreShareable(model: Uint8Array, caches: readonly Cache[]): boolean {
  if (caches.some(({ axis }) => axis === null)) return false
  const outputOf = new Map(caches.map(({ input, output }) => [input, output]))
  const read = new Set<string>()
  for (const graph of fields(model, MODEL_GRAPH))
    for (const node of nodesOf(graph)) {
      const inputs = texts(node, NODE.input)
      const attends = texts(node, NODE.opType)[0] === 'GroupQueryAttention'
      const outputs = texts(node, NODE.output)
      for (const [index, name] of inputs.entries()) {
        const present = outputOf.get(name)
        if (present === undefined) continue
        const key = index === PAST.key && outputs[PRESENT.key] === present
        const value = index === PAST.value && outputs[PRESENT.value] === present
        if (!attends || !(key || value)) return false
        read.add(name)
      }
    }
  return read.size === caches.length
}

/** Nodes of a graph and of the graphs inside it. */
function* nodesOf(graph: Uint8Array): Generator<Uint8Array> {
  for (const node of fields(graph, GRAPH_NODE)) {
    yield node
    for (const attribute of fields(node, NODE.attribute))
      for (const number of [ATTRIBUTE.graph, ATTRIBUTE.graphs])
        for (const inner of fields(attribute, number)) yield* nodesOf(inner)
  }
}

const decoder = new TextDecoder()
function texts(message: Uint8Array, number: number): string[] {
  return [...fields(message, number)].map((bytes) => decoder.decode(bytes))
}

/** Length-delimited fields of one number in a protobuf message. */
function* fields(message: Uint8Array, number: number): Generator<Uint8Array> {
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 1; ; shift *= 128) {
      const byte = message[at++] ?? 0
      value += (byte & 127) * shift
      if (byte < 128) return value
    }
  }
  while (at < message.length) {
    const tag = varint()
    const wire = tag % 8
    if (wire === 0) varint()
    else if (wire === 1) at += 8
    else if (wire === 5) at += 4
    else {
      const length = varint()
      if (Math.floor(tag / 8) === number) yield message.subarray(at, at + length)
      at += length
    }
  }
}
