/**
 * Gives the nodes that depend on integer inputs, shapes and constants alone to the segments
 * that use them. What several segments use becomes a prelude that each span takes along; a
 * shape of a tensor that a span may lack becomes an integer input that the stage fills.
 */
import type { OnnxNode } from '../onnx/types.ts'
import { isShape, readsOf, type Flow } from './flow.ts'
import type { Roles } from './roles.ts'

export interface Prelude {
  /** Free nodes by the sorted list of segments that need them, joined by ','. */
  readonly groups: ReadonlyMap<string, readonly OnnxNode[]>
  /** Shape nodes that are replaced by an input named as their output. */
  readonly shapes: readonly OnnxNode[]
}

export function placePreludes(
  flow: Flow,
  segments: readonly number[],
  roles: Roles,
): Prelude {
  const producer = new Map<string, number>()
  flow.free.forEach((node, i) =>
    node.outputs.forEach((name) => name && producer.set(name, i)),
  )
  const users: Set<number>[] = flow.free.map(() => new Set())
  flow.stream.forEach((vertex, v) => {
    if (vertex.half === 'add') return
    for (const name of readsOf(vertex.node)) {
      const from = producer.get(name)
      if (from !== undefined) users[from]?.add(segments[v] ?? 0)
    }
  })
  // Readers come after givers, so going backwards sees every user first.
  for (let i = flow.free.length - 1; i >= 0; i--) {
    const node = flow.free[i]
    if (!node) continue
    for (const name of readsOf(node)) {
      const from = producer.get(name)
      if (from !== undefined) users[i]?.forEach((segment) => users[from]?.add(segment))
    }
  }
  const groups = new Map<string, OnnxNode[]>()
  const shapes: OnnxNode[] = []
  flow.free.forEach((node, i) => {
    const segmentsUsing = [...(users[i] ?? [])].sort((a, b) => a - b)
    const key = segmentsUsing.join(',')
    const owner = ownerOf(node, flow, segments, roles)
    if (owner !== null && key !== String(owner)) shapes.push(node)
    else if (key !== '') {
      const group = groups.get(key)
      if (group) group.push(node)
      else groups.set(key, [node])
    }
  })
  return { groups, shapes }
}

/** The one segment where a shape node's operand exists, or null where it exists everywhere. */
function ownerOf(
  node: OnnxNode,
  flow: Flow,
  segments: readonly number[],
  roles: Roles,
): number | null {
  const [operand] = node.inputs
  if (!isShape(node) || operand === undefined || flow.freeTensors.has(operand))
    return null
  const cache = roles.caches.find(({ input }) => input.name === operand)
  if (cache) return cache.layer + 1
  const vertex = flow.producer.get(operand)
  return vertex === undefined ? 0 : (segments[vertex] ?? 0)
}
