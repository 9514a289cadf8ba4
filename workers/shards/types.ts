/** Getting weights: only the assigned shards, verified, once. */
import type { Manifest } from '../../model-split/manifest.ts'

export interface FetchProgress {
  /** Bytes of the wanted files that are complete or arriving. */
  readonly doneBytes: number
  readonly totalBytes: number
  /** Bytes that came over the network since this fetch began. */
  readonly fetchedBytes: number
}

/** Where shards are kept: `memory` where the browser denies IndexedDB (private windows). */
export type StoreKind = 'indexeddb' | 'memory'

/** What a shard reader needs; the store itself, or a shards worker over a port. */
export interface ShardSource {
  /** The bytes of a complete file; undefined where it is not complete here. */
  get(sha256: string): Promise<Blob | undefined>
  /** Forgets a file whose bytes turned out wrong. */
  discard(sha256: string): Promise<void>
  /** What `open` kept of the cut folder, or undefined. */
  manifest(url: string): Promise<Manifest | undefined>
}

export interface StorageReport {
  readonly kind: StoreKind
  readonly persisted: boolean
  readonly usedBytes: number
  readonly quotaBytes: number
  readonly models: readonly {
    readonly url: string
    readonly name: string
    readonly bytes: number
  }[]
}

/** Exposed over comlink by workers/shards/shards.worker.ts. */
export interface ShardsApi extends ShardSource {
  /**
   * Fetches (or reads from the store) and validates a manifest, and keeps it for offline use.
   * @param url of the cut folder, ending in '/'.
   */
  open(url: string): Promise<Manifest>
  /**
   * Makes the named shards and files complete in the store: streaming, resumed by ranges,
   * hash-checked before the "complete" record is written, retried with backoff.
   * @param onProgress a comlink proxy.
   * @param signal aborted through `cancel(id)`, as signals don't cross workers.
   */
  fetch(
    job: {
      readonly id: string
      readonly url: string
      readonly shards: readonly string[]
    },
    onProgress: (progress: FetchProgress) => void,
  ): Promise<{ readonly fetchedBytes: number }>
  cancel(id: string): void
  /** Which of the shards are complete here. */
  has(shards: readonly string[]): Promise<string[]>
  storage(): Promise<StorageReport>
  /** Forgets a model; shards that another model shares stay. */
  remove(url: string): Promise<void>
  /**
   * Takes bytes from elsewhere (a room mate). They become complete only if their SHA-256 is
   * the address; else they are dropped and this rejects. Transfer the buffer or stream.
   */
  put(
    sha256: string,
    bytes: Uint8Array<ArrayBuffer> | Blob | ReadableStream<Uint8Array>,
  ): Promise<void>
  /** Serves this API on another port too (for the stage and text workers in memory mode). */
  connect(port: MessagePort): void
}
