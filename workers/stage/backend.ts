/** What differs between the runtimes; everything else of an engine is in engine.ts. */
import type { LinkedSpan } from '../../model-split/link/link.ts'
import type { Cache, Manifest } from '../../model-split/manifest.ts'
import type { Span } from '../../model-split/span.ts'
import type { Batch } from './batch.ts'
import type { RunSize } from './tensors.ts'
import type { EngineKind, TensorData, WeightMode } from './types.ts'
import type { WeightFile } from './weights.ts'

/**
 * @typeParam Kept - the caches of one sequence in one layer, wherever they live.
 * @typeParam Held - a tensor where the runtime has it: in the WASM heap, on the graphics chip.
 */
export interface Backend<Kept extends LayerCaches, Held extends HeldTensor> {
  readonly kind: EngineKind
  readonly tensors: HeldTensors<Held>
  /** Divides a span into sessions, in order; together they are the span. */
  divide(manifest: Manifest, span: Span, mode: WeightMode): Span[]
  /** Refuses a model that this device cannot run. @throws StageError */
  check?(manifest: Manifest): void
  /** Copies the weights; the caller drops them afterwards. */
  open(
    linked: LinkedSpan,
    weights: readonly WeightFile[],
    mode: WeightMode,
    tables: readonly SharedTables[],
  ): Promise<BackendSession<Kept, Held>>
  /**
   * Copies weights, by name, to where any session can read them as an input; absent where a
   * session can only have weights of its own.
   */
  share?(weights: ReadonlyMap<string, TensorData>): SharedTables
  /** For runs side by side; null or absent: that saves nothing. */
  batch?(mode: WeightMode, runs: number): Batch | null
  /** Of one sequence in a layer that has these caches; no rows yet. */
  caches(caches: readonly Cache[]): Kept
  /** Frees what outlives the sessions. */
  close(): Promise<void>
}

export interface HeldTensor {
  readonly dims: readonly number[]
}

/**
 * In and out of the runtime. Between the parts of one run, and for all parts that read one
 * input, nothing goes through here.
 */
export interface HeldTensors<Held> {
  upload(tensor: TensorData): Held
  /** A copy of elements `[from, to)` along an axis. */
  slice(tensor: Held, axis: number, from: number, to: number): Held
  download(tensor: Held): Promise<TensorData>
  dispose(tensor: Held): void
}

export interface SharedTables {
  /** Once no session reads them any more. */
  release(): void
}

/** Caches of one sequence in one layer. Rows are counted by the engine. */
export interface LayerCaches {
  bytes(): number
  dispose(): void
  /** A copy of rows `[from, to)` of each cache; of one without rows, all. */
  read(from: number, to: number): Promise<TensorData[]>
  /** Puts rows behind the first `from` ones, which stay; takes the place of one without rows. */
  write(from: number, rows: number, tensors: readonly TensorData[]): Promise<void>
}

export interface RunRequest<Kept, Held> {
  /** Integer inputs and border tensors; they stay the caller's. */
  readonly inputs: ReadonlyMap<string, Held>
  /** Caches of the layers, in order; of at least `size.past` rows. The run adds its own. */
  readonly kept: readonly Kept[]
  readonly size: RunSize
  /** Null: it runs by itself. */
  readonly batch: Batch | null
}

export interface BackendSession<Kept, Held> {
  /** Bytes of weights that it holds, without tables. */
  readonly weights: number
  /**
   * Border tensors by name, and logits of all computed rows; they are the caller's to dispose.
   * Where it throws, the caches still hold their first `size.past` rows.
   */
  run(request: RunRequest<Kept, Held>): Promise<Map<string, Held>>
  release(): Promise<void>
}
