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
  /** Number of the layout, chosen by the caller; not one that is loaded. */
  readonly layout: number
  readonly manifest: Manifest
  readonly reader: ShardReader
  /** A device holds one span, the starter also the head. */
  readonly spans: readonly Span[]
  readonly mode: WeightMode
  /** Only weights are held: caches go with the last layout that is not dormant. */
  readonly dormant?: boolean
  readonly onProgress?: (progress: LoadProgress) => void
  readonly signal?: AbortSignal
}

/** One run of one span: S new rows of one sequence. */
export interface Step {
  readonly layout: number
  /** Index in `LoadOptions.spans` of the layout. */
  readonly span: number
  readonly sequence: number
  /**
   * Rows already processed, P. Where the layout's caches are all longer, the sequence is rolled
   * back: all its caches, of all layouts, are truncated to P. One that is shorter is an error
   * (`gap`).
   */
  readonly position: number
  readonly rows: number
  /** Token ids, where the span starts with the embedding. */
  readonly ids?: readonly number[]
  /** Border tensors that the span reads, by name. */
  readonly inputs: ReadonlyMap<string, TensorData>
  /** The head gives logits for every row, not for the last one only. */
  readonly everyRow?: boolean
}

/**
 * Runs spans of one model on one runtime. The spans of one plan are a **layout**; layouts come
 * and go while the engine lives, and share weights and caches of the layers they have in
 * common. Calls that compute or copy queue up by themselves.
 */
export interface Engine {
  readonly kind: EngineKind
  /** Loads what no other layout holds yet. Nothing changes where it throws. */
  load(options: LoadOptions): Promise<void>
  /** Lets go of a layout: weights and caches that no other one needs are freed. */
  unload(layout: number): Promise<void>
  /** Border tensors that the span gives, by name; with the head also the logits. */
  run(step: Step): Promise<Map<string, TensorData>>
  /**
   * Steps of different sequences through one span, each as in `run`: what a step gives is the
   * same, bit for bit, and where one fails the others do not. Where `batches`, their weights
   * are read once.
   */
  runTogether(steps: readonly Step[]): Promise<Map<string, TensorData>>[]
  /** Whether `runTogether` takes less time than one run after another. */
  readonly batches: boolean
  /** Rows that the caches of all the layout's layers hold (0 if unknown, or without layers). */
  length(sequence: number, layout: number): number
  /** In all layouts; a layer that cannot go back forgets the sequence. */
  truncate(sequence: number, length: number): void
  /** In all layouts. */
  drop(sequence: number): void
  /** Rows that the caches of one layer hold (0 if unknown). */
  rows(sequence: number, layer: number): number
  /**
   * Copies rows `[from, to)` of a layer's caches, in the manifest's order. A cache without rows
   * (a recurrent state) comes whole, and only where `to` is the layer's newest row.
   * @throws StageError `gap` where these rows are not here, `bad-input`.
   */
  exportRows(
    sequence: number,
    layer: number,
    from: number,
    to: number,
  ): Promise<TensorData[]>
  /**
   * Writes rows `[from, from + rows)` of a layer, as exported; what came after them is dropped.
   * @throws StageError `gap` where rows before them are missing, `bad-input` where the tensors
   * are not what the manifest says or no layout has the layer.
   */
  importRows(
    sequence: number,
    layer: number,
    from: number,
    rows: number,
    tensors: readonly TensorData[],
  ): Promise<void>
  /** Bytes held: weights and caches of all layouts. */
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
