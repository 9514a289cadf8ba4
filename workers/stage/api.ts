/** The stage worker as the page sees it, over comlink. Never exposed to a peer. */
import type { Manifest } from '../../model-split/manifest.ts'
import type { StepTimes } from '../../model-split/plan/batch-size.ts'
import type { AnswerEvent, Ask, Epoch, RingPlan } from '../ring/types.ts'
import type { StepSums } from './speed.ts'
import type { EngineKind, LoadProgress, WeightMode } from './types.ts'

export interface OpenOptions {
  /** Cut folder, ending in '/'; its files are in the shard store. */
  readonly url: string
  readonly manifest: Manifest
  /** This device's id in plans. */
  readonly self: string
  /** Bytes that weights and caches may take together. */
  readonly memoryBudget: number
  /** `auto`: WebGPU when the probe found it and the canary agrees, else WASM. */
  readonly engine: EngineKind | 'auto'
  /** `auto`: the fastest one that fits the budget. */
  readonly mode: WeightMode | 'auto'
  /** WASM threads; more than 1 needs cross-origin isolation. */
  readonly threads: number
}

export interface PrepareReport {
  readonly engine: EngineKind
  readonly mode: WeightMode
  /** Measured on this device for one token through one layer, ms. */
  readonly msPerLayer: number
  /** For embedding, head and sampling of one token, ms; null where it is not the starter. */
  readonly msStarter: number | null
  readonly memory: { readonly weights: number; readonly caches: number }
  /** Why WebGPU does not serve here, in one sentence, or null. */
  readonly fallback: string | null
}

/** Running figures of this stage. */
export interface StageStats {
  readonly epoch: Epoch
  readonly engine: EngineKind
  readonly mode: WeightMode
  /** One token through one layer, from the newest steps; before any, as measured at load. */
  readonly msPerLayer: number
  /** Whether `msPerLayer` comes from steps. */
  readonly atWork: boolean
  /** One row of a prompt through one layer; null before a long one. */
  readonly msPerLayerPrefill: number | null
  /** Embedding, head and sampling of one token; null where it is not the starter. */
  readonly msStarter: number | null
  readonly memory: { readonly weights: number; readonly caches: number }
  /** Overlap layers whose weights are in memory, ascending. */
  readonly holds: readonly number[]
  /** Sequences with a cache here. */
  readonly sequences: number
  /** All decoding steps since the weights were loaded, by span. */
  readonly steps: readonly StepSums[]
  /** Median of the newest laps, ms; on the starter only. */
  readonly lapMs: number | null
  /** In one sentence, once: another engine took over while the stage served; else null. */
  readonly replaced: string | null
}

export interface StageApi {
  open(options: OpenOptions): Promise<void>
  /**
   * From the next `prepare` on: weights and caches may take so many bytes. Overlap layers that
   * don't fit any more go at once.
   */
  setMemoryBudget(bytes: number): Promise<void>
  /** By these it chooses how many waiting steps run as one; null: stages are alike. */
  setStepTimes(times: StepTimes | null): Promise<void>
  /**
   * Loads what this device runs under the plan, beside what runs now where memory allows,
   * checks it with the canary and measures it. Does not serve it yet. Nothing to run: resolves
   * at once.
   * @param before the room's plan that serves meanwhile: caches of layers that come here are
   * copied from its devices.
   */
  prepare(
    plan: RingPlan,
    onProgress: (progress: LoadProgress) => void,
    before: RingPlan | null,
  ): Promise<PrepareReport>
  /**
   * After `prepare`: resolves once the caches of what runs have been copied here but for what the
   * newest laps bring, so that nobody waits at `activate`. It resolves too where that cannot be
   * had (the holder before is gone, memory is short, it takes longer than half a minute) or
   * another plan is prepared.
   */
  copied(epoch: Epoch): Promise<void>
  /**
   * From now on frames of this epoch are served; answers go over from the plan before one by
   * one, with their caches where the engine stays.
   */
  activate(epoch: Epoch): Promise<void>
  /**
   * Holds the weights of these layers beside those that run, as far as memory allows, and of no
   * others; their shards are in the store. `onStats` tells which. A later `prepare` stops it.
   */
  hold(layers: readonly number[]): Promise<void>
  /**
   * The frame link to a proven device: its data channel where the browser can transfer it
   * (in the task that created it), else a port on which the page relays.
   */
  connect(device: string, link: RTCDataChannel | MessagePort): Promise<void>
  /** A second channel to that device on which messages may get lost; as `connect`. */
  connectSpare(device: string, link: RTCDataChannel | MessagePort): Promise<void>
  disconnect(device: string): Promise<void>
  /**
   * Asks the ring; events come until 'end' or 'failed'. Survives a change of the plan: what
   * was generated is sent along to the new starter and goes on from there.
   */
  ask(ask: Ask, onEvent: (event: AnswerEvent) => void): Promise<void>
  stop(sequence: number): Promise<void>
  /** Forgets a sequence on every stage. */
  forget(sequence: number): Promise<void>
  /**
   * Called about twice a second while something runs, and at once when its speed or what is
   * held changes.
   */
  onStats(listener: (stats: StageStats) => void): Promise<void>
  close(): Promise<void>
}
