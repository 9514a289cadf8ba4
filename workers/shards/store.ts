/**
 * The shard store: files by content address, complete or in part, and the models that use
 * them. A file is a row of chunks; a `complete` record is written only after its SHA-256
 * matched, so whatever a crash leaves behind is at worst a shorter partial file.
 */
import { ShardError } from './errors.ts'
import type { StoreKind } from './types.ts'

/** Bytes that a reload loses at most: a chunk is stored when so much has arrived. */
export const CHUNK_BYTES = 4 * 2 ** 20

/** A file that is not complete yet. */
export interface PartialFile {
  /** Who may write: a number that each `begin` raises, so that only the latest may. */
  readonly writer: number
  /** The server's ETag of the stored bytes, where it sent one. */
  readonly etag: string | null
  /** Bytes of each stored chunk. */
  readonly sizes: readonly number[]
}

export interface StoredModel {
  readonly url: string
  readonly name: string
  /** The manifest as it was served. */
  readonly json: string
  /** Content addresses of all files of the manifest. */
  readonly addresses: readonly string[]
  /** Those of earlier manifests at this URL, kept until the new one has been fetched. */
  readonly retired: readonly string[]
}

export interface ShardStore {
  readonly kind: StoreKind
  /** Bytes of a complete file, else undefined. */
  size(sha256: string): Promise<number | undefined>
  /** A complete file; the Blob refers to storage and is read piece by piece. */
  get(sha256: string): Promise<Blob | undefined>
  /** Becomes the file's only writer. */
  begin(sha256: string): Promise<PartialFile | 'complete'>
  /** A stored chunk of a partial file. */
  chunk(sha256: string, index: number): Promise<Blob | undefined>
  /** Bytes stored of a partial file. */
  partialSize(sha256: string): Promise<number>
  /**
   * Adds the next chunk.
   * @throws ShardError `busy` where another writer took over, `full` where it doesn't fit.
   */
  append(sha256: string, writer: number, chunk: Blob, etag: string | null): Promise<void>
  /** Drops the chunks; the writer stays. */
  restart(sha256: string, writer: number): Promise<void>
  /** Marks as complete; the caller has checked the hash over all chunks. */
  complete(sha256: string, writer: number): Promise<void>
  /** Forgets a file, complete or not. */
  discard(sha256: string): Promise<void>
  saveModel(model: Omit<StoredModel, 'retired'>): Promise<void>
  model(url: string): Promise<StoredModel | undefined>
  models(): Promise<StoredModel[]>
  /** Forgets the model and the files that no other model names. */
  removeModel(url: string): Promise<void>
  /** Forgets files of earlier manifests at this URL. */
  prune(url: string): Promise<void>
  close(): void
}

export function busyError(): ShardError {
  return new ShardError(
    'busy',
    'Another tab of this app is downloading the same model; wait for it or close one of the two.',
  )
}

/** The addresses to keep when a model is saved over an older one. */
export function retire(
  old: StoredModel | undefined,
  next: Omit<StoredModel, 'retired'>,
): StoredModel {
  const kept = new Set(next.addresses)
  const before = old === undefined ? [] : [...old.addresses, ...old.retired]
  return {
    ...next,
    retired: [...new Set(before)].filter((address) => !kept.has(address)),
  }
}

/** Of `addresses`, those that none of the models names. */
export function unshared(
  addresses: readonly string[],
  models: readonly StoredModel[],
): string[] {
  const named = new Set(models.flatMap((model) => [...model.addresses, ...model.retired]))
  return addresses.filter((address) => !named.has(address))
}
