/** Rows of one sequence on their way through the ring, as one stage holds them. */
import type { TensorData } from '../stage/types.ts'
import type { FrameHeader } from './frame.ts'
import type { KvCopy } from './kv-copy.ts'
import type { Routes } from './routes.ts'
import type { Epoch } from './types.ts'

export interface ChunkHeader {
  readonly sequence: number
  readonly attempt: number
  readonly base: number
  readonly position: number
  readonly rows: number
  readonly last: boolean
  /** Rows after the first are guesses: logits are wanted for every row. */
  readonly draft: boolean
}

/** A plan as this stage serves it. */
export interface NodePlan {
  readonly routes: Routes
  readonly layout: number
  /** Bytes that caches may take. */
  readonly cacheBudget: number
  /** Fetches rows of layers that others had before; null: none has come here. */
  readonly copy: KvCopy | null
}

export interface Chunk extends ChunkHeader {
  readonly plan: NodePlan
  readonly span: number
  readonly inputs: Map<string, TensorData>
  readonly ids?: readonly number[]
}

export function epochOf({ routes }: NodePlan): Epoch {
  return routes.plan.epoch
}

export function headerOf(from: FrameHeader | ChunkHeader): ChunkHeader {
  const { sequence, attempt, base, position, rows, last, draft } = from
  return { sequence, attempt, base, position, rows, last, draft }
}

export function bytesOf({ inputs }: Chunk): number {
  return [...inputs.values()].reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
}
