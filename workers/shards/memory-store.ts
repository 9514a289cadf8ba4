/** The shard store for private windows: nothing outlives the worker. */
import { fullError } from './errors.ts'
import { busyError, retire, unshared } from './store.ts'
import type { PartialFile, ShardStore, StoredModel } from './store.ts'

interface Entry {
  chunks: Blob[]
  writer: number
  etag: string | null
  complete: boolean
}

/** @param capacity bytes that may be kept; browsers keep large Blobs on disk. */
export function createMemoryStore(capacity = Infinity): ShardStore {
  const entries = new Map<string, Entry>()
  const models = new Map<string, StoredModel>()
  const sizeOf = (entry: Entry | undefined) =>
    (entry?.chunks ?? []).reduce((sum, chunk) => sum + chunk.size, 0)
  const used = () => [...entries.values()].reduce((sum, entry) => sum + sizeOf(entry), 0)
  const mine = (sha256: string, writer: number): Entry => {
    const entry = entries.get(sha256)
    if (entry === undefined || entry.complete || entry.writer !== writer)
      throw busyError()
    return entry
  }
  const drop = (addresses: readonly string[]) => {
    for (const address of unshared(addresses, [...models.values()]))
      entries.delete(address)
  }
  const whole = (sha256: string) => {
    const entry = entries.get(sha256)
    return entry?.complete === true ? entry : undefined
  }
  // Each method runs in one go, as a transaction would.
  const atOnce = <T>(work: () => T): Promise<T> =>
    new Promise((resolve) => {
      resolve(work())
    })

  return {
    kind: 'memory',
    size: (sha256) =>
      atOnce(() => {
        const entry = whole(sha256)
        return entry === undefined ? undefined : sizeOf(entry)
      }),
    get: (sha256) =>
      atOnce(() => {
        const entry = whole(sha256)
        return entry === undefined ? undefined : new Blob(entry.chunks)
      }),
    begin: (sha256) =>
      atOnce((): PartialFile | 'complete' => {
        const old = entries.get(sha256)
        if (old?.complete === true) return 'complete'
        const entry = old ?? { chunks: [], writer: 0, etag: null, complete: false }
        entry.writer += 1
        entries.set(sha256, entry)
        const sizes = entry.chunks.map((chunk) => chunk.size)
        return { writer: entry.writer, etag: entry.etag, sizes }
      }),
    chunk: (sha256, index) => atOnce(() => entries.get(sha256)?.chunks[index]),
    partialSize: (sha256) =>
      atOnce(() => (whole(sha256) === undefined ? sizeOf(entries.get(sha256)) : 0)),
    append: (sha256, writer, chunk, etag) =>
      atOnce(() => {
        const entry = mine(sha256, writer)
        if (used() + chunk.size > capacity) throw fullError('the download', chunk.size)
        entry.chunks.push(chunk)
        entry.etag = etag
      }),
    restart: (sha256, writer) =>
      atOnce(() => {
        const entry = mine(sha256, writer)
        entry.chunks = []
        entry.etag = null
      }),
    complete: (sha256, writer) =>
      atOnce(() => {
        mine(sha256, writer).complete = true
      }),
    discard: (sha256) =>
      atOnce(() => {
        entries.delete(sha256)
      }),
    saveModel: (model) =>
      atOnce(() => {
        models.set(model.url, retire(models.get(model.url), model))
      }),
    model: (url) => atOnce(() => models.get(url)),
    models: () => atOnce(() => [...models.values()]),
    removeModel: (url) =>
      atOnce(() => {
        const model = models.get(url)
        models.delete(url)
        if (model !== undefined) drop([...model.addresses, ...model.retired])
      }),
    prune: (url) =>
      atOnce(() => {
        const model = models.get(url)
        if (model === undefined) return
        models.set(url, { ...model, retired: [] })
        drop(model.retired)
      }),
    close: () => undefined,
  }
}
