/**
 * Whether past and present of every cache may be one buffer. GroupQueryAttention then writes
 * new rows behind the old ones, and takes the number of valid rows from `seqlens_k` instead of
 * the buffer's shape; so nothing else may look at a cache.
 */
import type { Cache } from '../../model-split/manifest.ts'
import { fields, MODEL, NODE, nodesOf, texts } from './onnx-fields.ts'

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
