/**
 * The pieces of a cut graph, before any byte is written: which nodes each holds, and which
 * border tensors run between the segments.
 */
import type { OnnxNode } from '../onnx/types.ts'
import type { Flow } from './flow.ts'
import type { Prelude } from './prelude.ts'
import type { Roles } from './roles.ts'

/** A node as it goes into a piece: from the file, or written anew around a cut joint. */
export type PartNode =
  | { readonly kind: 'original'; readonly node: OnnxNode }
  /** sum = a + b (+ bias), where a span ends inside a joint. */
  | {
      readonly kind: 'sum'
      readonly node: OnnxNode
      readonly sum: string
      readonly bias: string | null
    }
  /** The joint fed with the sum and zeros, where a span starts inside it. */
  | {
      readonly kind: 'rest'
      readonly node: OnnxNode
      readonly sum: string
      readonly bias: string | null
    }

export interface Part {
  readonly id: string
  readonly nodes: PartNode[]
}

export interface Layout {
  /** bodies (`embed`, `layer.0`, …, `head`), preludes and joints. */
  readonly parts: Part[]
  /** Per segment: joint parts to link inside a span, at its start, at its end. */
  readonly entries: {
    inside: string | null
    border: string | null
    exit: string | null
  }[]
  readonly borders: ReadonlyMap<string, { from: number; to: number[] }>
}

export function segmentName(segment: number, layers: number): string {
  if (segment === 0) return 'embed'
  return segment === layers + 1 ? 'head' : `layer.${segment - 1}`
}

export function layOut(
  flow: Flow,
  segments: readonly number[],
  prelude: Prelude,
  roles: Roles,
): Layout {
  const count = roles.layers + 2
  const parts = new Map<string, Part>()
  const put = (id: string, node: PartNode): string => {
    const part = parts.get(id)
    if (part) part.nodes.push(node)
    else parts.set(id, { id, nodes: [node] })
    return id
  }
  for (let s = 0; s < count; s++) {
    const id = segmentName(s, roles.layers)
    parts.set(id, { id, nodes: [] })
  }
  let preludes = 0
  for (const [key, nodes] of prelude.groups) {
    const id = key.includes(',')
      ? `prelude.${preludes++}`
      : segmentName(Number(key), roles.layers)
    nodes.forEach((node) => put(id, { kind: 'original', node }))
  }
  const entries: Layout['entries'] = Array.from({ length: count }, () => ({
    inside: null,
    border: null,
    exit: null,
  }))
  const addSide = new Map<OnnxNode, number>()
  flow.stream.forEach((vertex, v) => {
    const { node, half } = vertex
    const segment = segments[v] ?? 0
    const body = segmentName(segment, roles.layers)
    if (half === 'add') {
      addSide.set(node, segment)
      return
    }
    const before = addSide.get(node) ?? segment
    const joint = flow.joints.get(node)
    if (half === 'whole' || !joint || before === segment) {
      put(body, { kind: 'original', node })
      return
    }
    const { sum, bias } = joint
    if (segment === before + 1) {
      const entry = entries[segment]
      const last = entries[before]
      if (entry) {
        entry.inside = put(`joint.${segment}.inside`, { kind: 'original', node })
        entry.border = put(`joint.${segment}.border`, { kind: 'rest', node, sum, bias })
      }
      if (last) last.exit = put(`joint.${segment}.exit`, { kind: 'sum', node, sum, bias })
    } else {
      put(segmentName(before, roles.layers), { kind: 'sum', node, sum, bias })
      put(body, { kind: 'rest', node, sum, bias })
    }
  })
  return { parts: [...parts.values()], entries, borders: bordersOf(flow, segments) }
}

/** Tensors that are read in a later segment than the one that gives them. */
function bordersOf(flow: Flow, segments: readonly number[]): Layout['borders'] {
  const borders = new Map<string, { from: number; to: number[] }>()
  for (const [name, giver] of flow.producer) {
    const from = segments[giver] ?? 0
    const readers = (flow.readers.get(name) ?? []).map((v) => segments[v] ?? 0)
    const to = [...new Set(readers)]
      .filter((segment) => segment > from)
      .sort((a, b) => a - b)
    if (to.length > 0) borders.set(name, { from, to })
  }
  return borders
}
