/** Getting weights: only the assigned shards, verified, once. */
import type { Manifest } from '../../model-split/manifest.ts'

export interface FetchProgress {
  /** Bytes of the wanted files that are complete or arriving. */
  readonly doneBytes: number
  readonly totalBytes: number
  /** Bytes that came over the network since this fetch began. */
  readonly fetchedBytes: number
}

export interface StorageReport {
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
export interface ShardsApi {
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
    job: { readonly id: string; readonly url: string; readonly shards: readonly string[] },
    onProgress: (progress: FetchProgress) => void,
  ): Promise<{ readonly fetchedBytes: number }>
  cancel(id: string): void
  /** Which of the shards are complete here. */
  has(shards: readonly string[]): Promise<string[]>
  storage(): Promise<StorageReport>
  remove(url: string): Promise<void>
}
