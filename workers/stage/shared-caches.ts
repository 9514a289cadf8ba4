/**
 * Whether past and present of every cache may be one buffer. GroupQueryAttention then writes
 * new rows behind the old ones, and takes the number of valid rows from `seqlens_k` instead of
 * the buffer's shape; so nothing else may look at a cache.
 */
import type { Cache } from '../../model-split/manifest.ts'
import { ATTRIBUTE, fields, GRAPH, MODEL, NODE, texts } from './onnx-fields.ts'

const PAST = { key: 3, value: 4 } as const
const PRESENT = { key: 1, value: 2 } as const

/** @param model a serialized ModelProto without weights */
export function cachesAreShareable(model: Uint8Array, caches: readonly Cache[]): boolean {
  if (caches.some(({ axis }) => axis === null)) return false
  const outputOf = new Map(caches.map(({ input, output }) => [input, output]))
  const read = new Set<string>()
  for (const graph of fields(model, MODEL.graph))
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
  for (const node of fields(graph, GRAPH.node)) {
    yield node
    for (const attribute of fields(node, NODE.attribute))
      for (const number of [ATTRIBUTE.graph, ATTRIBUTE.graphs])
        for (const inner of fields(attribute, number)) yield* nodesOf(inner)
  }
}
