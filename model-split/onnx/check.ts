import type { OnnxGraph, OnnxNode } from './types.ts'

/** A model that cannot be cut; the message is one sentence for people. */
export class ModelError extends Error {
  override readonly name = 'ModelError'
}

/** The nodes so that each comes after those whose outputs it reads. */
export function topologicalOrder(graph: OnnxGraph): OnnxNode[] {
  throw new Error(`not yet: ${graph.nodes.length}`)
}
