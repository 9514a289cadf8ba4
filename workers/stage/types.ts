/** What a stage is asked to do. Implemented by the two engines, exposed over comlink. */
import type { Dtype, Manifest } from '../../model-split/manifest.ts'
import type { Span } from '../../model-split/span.ts'

/** A tensor in little-endian bytes; `bytes.byteLength` fits `dims` and `dtype`. */
export interface TensorData {
  readonly dtype: Dtype
  readonly dims: readonly number[]
  readonly bytes: Uint8Array
}

/** How quantised weights are kept: see `Piece.variants` in the manifest. */
export type WeightMode = 'packed' | 'dense' | 'lean'
export type EngineKind = 'wasm' | 'webgpu'

/** Reads weights of the model that is open; bytes are hash-checked before they get here. */
export interface ShardReader {
  /** graph.bin or golden.bin. */
  file(name: string): Promise<Uint8Array>
  /** One shard by content address. One buffer at a time is alive: don't keep it. */
  shard(sha256: string): Promise<Uint8Array>
}

export interface LoadProgress {
  readonly loadedBytes: number
  readonly totalBytes: number
}

export interface LoadOptions {
  readonly manifest: Manifest
  readonly reader: ShardReader
  /** One session each; a device holds one span, the starter also the head. */
  readonly spans: readonly Span[]
  readonly mode: WeightMode
  readonly onProgress?: (progress: LoadProgress) => void
  readonly signal?: AbortSignal
}

/** One run of one span: S new rows of one sequence. */
export interface Step {
  /** Index in `LoadOptions.spans`. */
  readonly span: number
  readonly sequence: number
  /**
   * Rows already processed, P. A cache that is longer is truncated to it first (rollback);
   * one that is shorter is an error (`gap`).
   */
  readonly position: number
  readonly rows: number
  /** Token ids, where the span starts with the embedding. */
  readonly ids?: readonly number[]
  /** Border tensors that the span reads, by name. */
  readonly inputs: ReadonlyMap<string, TensorData>
}

/** Runs spans on one runtime. One call at a time: callers queue (see ring/scheduler). */
export interface Engine {
  readonly kind: EngineKind
  load(options: LoadOptions): Promise<void>
  /** Border tensors that the span gives, by name; with the head also the logits, last row. */
  run(step: Step): Promise<Map<string, TensorData>>
  /** Rows in the caches of a sequence (0 if unknown). */
  length(sequence: number): number
  truncate(sequence: number, length: number): void
  drop(sequence: number): void
  /** Bytes held: weights and caches. */
  memory(): { weights: number; caches: number }
  release(): Promise<void>
}

/** Errors that keep their kind across worker and wire. */
export type StageErrorCode =
  | 'out-of-memory'
  | 'device-lost'
  | 'bad-model'
  | 'bad-input'
  | 'gap'
  | 'wrong-result'
  | 'timeout'
  | 'aborted'
  | 'internal'

export class StageError extends Error {
  override readonly name = 'StageError'
  constructor(
    readonly code: StageErrorCode,
    /** One sentence for people: what happened and what to do. */
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}
