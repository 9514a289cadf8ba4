/** What differs between the runtimes; everything else of an engine is in engine.ts. */
import type { LinkedSpan } from '../../model-split/link/link.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import type { RunSize } from './tensors.ts'
import type { EngineKind, TensorData, WeightMode } from './types.ts'
import type { WeightFile } from './weights.ts'

/** @typeParam Kept - the caches of one sequence in one session, wherever they live. */
export interface Backend<Kept> {
  readonly kind: EngineKind
  /** A span is divided into sessions of about so many bytes of weights: a bound on the peak. */
  readonly sessionBytes: number
  /** Refuses a model that this device cannot run. @throws StageError */
  check?(manifest: Manifest): void
  /** Copies the weights; the caller drops them afterwards. */
  open(
    linked: LinkedSpan,
    weights: readonly WeightFile[],
    mode: WeightMode,
  ): Promise<BackendSession<Kept>>
  /** Frees what outlives the sessions. */
  close(): Promise<void>
}

export interface RunRequest<Kept> {
  /** Integer inputs and border tensors, checked. */
  readonly inputs: ReadonlyMap<string, TensorData>
  /** Caches of at least `size.past` rows, or null before the first run. */
  readonly kept: Kept | null
  readonly size: RunSize
}

export interface RunResult<Kept> {
  /** Border tensors by name; logits of all computed rows. */
  readonly outputs: Map<string, TensorData>
  /** Takes the place of the request's `kept`, which may be used up. */
  readonly kept: Kept
}

export interface BackendSession<Kept> {
  /** Where it throws, the request's `kept` still holds its first `size.past` rows. */
  run(request: RunRequest<Kept>): Promise<RunResult<Kept>>
  bytes(kept: Kept): number
  dispose(kept: Kept): void
  release(): Promise<void>
}
