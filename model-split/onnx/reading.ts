/** What the readers of graphs and of nodes share: graphs hold nodes, and nodes graphs. */
import type { ExternalFiles } from './external.ts'
import type { Extent, MessageFile } from './fields.ts'
import type { Hoisted } from './hoist.ts'
import type { OnnxGraph } from './types.ts'

export interface Reading {
  readonly file: MessageFile
  readonly external: ExternalFiles
  readonly hoisted: Hoisted
  /** 0 for the model's own graph, 1 for a branch of an If there, … */
  readonly depth: number
}

/** Reads a graph inside a node; see graph.ts. */
export type ReadSubgraph = (
  outer: Reading,
  extent: Extent,
) => Promise<{ readonly graph: OnnxGraph; readonly bytes: Uint8Array }>
