/** The shard store in IndexedDB. */
import { openDB } from 'idb'
import type { DBSchema, IDBPDatabase, IDBPTransaction, StoreNames } from 'idb'
import { fullError, isQuotaError, ShardError } from './errors.ts'
import { busyError, retire, unshared } from './store.ts'
import type { PartialFile, ShardStore, StoredModel } from './store.ts'

interface Schema extends DBSchema {
  /** Key: content address and index. An ArrayBuffer where the browser can't store Blobs. */
  chunks: { key: [string, number]; value: Blob | ArrayBuffer }
  partials: { key: string; value: PartialFile }
  complete: { key: string; value: { readonly bytes: number; readonly chunks: number } }
  models: { key: string; value: StoredModel }
}
type Name = StoreNames<Schema>
type Writing = IDBPTransaction<Schema, Name[], 'readwrite'>

const VERSION = 1
const FILES: Name[] = ['chunks', 'partials', 'complete']
const ALL: Name[] = [...FILES, 'models']

/**
 * @throws ShardError `full`, `outdated` or `blocked`; anything else where the browser denies
 * IndexedDB.
 */
export async function openIndexedStore(name: string): Promise<ShardStore> {
  const store = new IndexedStore(name)
  await store.open()
  return store
}

class IndexedStore implements ShardStore {
  readonly kind = 'indexeddb'
  private connection: Promise<IDBPDatabase<Schema>> | undefined
  private outdated = false
  /** Whether this browser keeps Blobs: felt for before the first chunk is stored. */
  private blobs: 'unknown' | 'work' | 'fail' = 'unknown'

  constructor(private readonly name: string) {}

  open(): Promise<IDBPDatabase<Schema>> {
    if (this.outdated) throw outdatedError()
    this.connection ??= this.connect().catch((error: unknown) => {
      this.connection = undefined
      throw error
    })
    return this.connection
  }

  private async connect(): Promise<IDBPDatabase<Schema>> {
    let refuse: (error: ShardError) => void = () => undefined
    const refused = new Promise<never>((_, reject) => (refuse = reject))
    let opened: IDBPDatabase<Schema> | undefined
    let opening: Promise<IDBPDatabase<Schema>> | undefined
    try {
      // Where IndexedDB is denied, this throws at once or rejects.
      opening = openDB<Schema>(this.name, VERSION, {
        // One `if (old < n)` per version, so that every older store is brought forward.
        upgrade: (db, old) => {
          if (old < 1) for (const store of ALL) db.createObjectStore(store)
        },
        blocked: () => {
          refuse(
            new ShardError(
              'blocked',
              'Another tab runs an older version of this app; close it and reload this page.',
            ),
          )
        },
        blocking: () => {
          this.outdated = true
          opened?.close()
        },
        terminated: () => (this.connection = undefined),
      })
      opened = await Promise.race([opening, refused])
      return opened
    } catch (error) {
      // A connection that comes after all must not block the next upgrade.
      opening?.then(
        (late) => late.close(),
        () => undefined,
      )
      if (isQuotaError(error)) throw fullError('this app', null, error)
      if (error instanceof Error && error.name === 'VersionError') throw outdatedError()
      throw error
    }
  }

  /** One transaction: all or nothing. */
  private async write<T>(stores: Name[], work: (tx: Writing) => Promise<T>): Promise<T> {
    const tx = (await this.open()).transaction(stores, 'readwrite')
    const settled = tx.done.then(
      () => undefined,
      (error: unknown) => error,
    )
    try {
      const value = await work(tx)
      await tx.done
      return value
    } catch (error) {
      try {
        tx.abort()
      } catch {
        // It had ended already.
      }
      const failure = await settled
      if (isQuotaError(error) || isQuotaError(failure))
        throw fullError('the download', null, error)
      throw error
    }
  }

  async size(sha256: string) {
    return (await (await this.open()).get('complete', sha256))?.bytes
  }

  async get(sha256: string) {
    const tx = (await this.open()).transaction(FILES, 'readonly')
    const record = await tx.objectStore('complete').get(sha256)
    if (record === undefined) return undefined
    const chunks = await tx.objectStore('chunks').getAll(rangeOf(sha256))
    await tx.done
    return new Blob(chunks)
  }

  begin(sha256: string) {
    return this.write(FILES, async (tx): Promise<PartialFile | 'complete'> => {
      if ((await tx.objectStore('complete').get(sha256)) !== undefined) return 'complete'
      const old = await tx.objectStore('partials').get(sha256)
      const partial = {
        writer: (old?.writer ?? 0) + 1,
        etag: old?.etag ?? null,
        sizes: old?.sizes ?? [],
      }
      await tx.objectStore('partials').put(partial, sha256)
      return partial
    })
  }

  async chunk(sha256: string, index: number) {
    const value = await (await this.open()).get('chunks', [sha256, index])
    return value === undefined || value instanceof Blob ? value : new Blob([value])
  }

  async partialSize(sha256: string) {
    const partial = await (await this.open()).get('partials', sha256)
    return (partial?.sizes ?? []).reduce((sum, size) => sum + size, 0)
  }

  async append(sha256: string, writer: number, chunk: Blob, etag: string | null) {
    if (this.blobs === 'unknown') {
      this.blobs = (await this.feelForBlobs(sha256)) ? 'work' : 'fail'
    }
    const value = this.blobs === 'work' ? chunk : await chunk.arrayBuffer()
    await this.write(FILES, async (tx) => {
      const old = await mine(tx, sha256, writer)
      const sizes = [...old.sizes, chunk.size]
      await tx.objectStore('chunks').put(value, [sha256, old.sizes.length])
      await tx.objectStore('partials').put({ writer, etag, sizes }, sha256)
    })
  }

  /** Stores, reads back and deletes a tiny Blob; some browsers throw, some give it back empty. */
  private async feelForBlobs(sha256: string): Promise<boolean> {
    const key: [string, number] = [sha256, -1]
    try {
      await this.write(['chunks'], (tx) =>
        tx.objectStore('chunks').put(new Blob([Uint8Array.of(7)]), key),
      )
      const back = await (await this.open()).get('chunks', key)
      if (!(back instanceof Blob)) return false
      return new Uint8Array(await back.arrayBuffer())[0] === 7
    } catch (error) {
      if (error instanceof ShardError) throw error
      return false
    } finally {
      await this.write(['chunks'], (tx) => tx.objectStore('chunks').delete(key)).catch(
        () => undefined,
      )
    }
  }

  restart(sha256: string, writer: number) {
    return this.write(FILES, async (tx) => {
      await mine(tx, sha256, writer)
      await tx.objectStore('chunks').delete(rangeOf(sha256))
      await tx.objectStore('partials').put({ writer, etag: null, sizes: [] }, sha256)
    })
  }

  complete(sha256: string, writer: number) {
    return this.write(FILES, async (tx) => {
      const { sizes } = await mine(tx, sha256, writer)
      const bytes = sizes.reduce((sum, size) => sum + size, 0)
      await tx.objectStore('complete').put({ bytes, chunks: sizes.length }, sha256)
      await tx.objectStore('partials').delete(sha256)
    })
  }

  discard(sha256: string) {
    return this.write(FILES, (tx) => forget(tx, [sha256]))
  }

  saveModel(model: Omit<StoredModel, 'retired'>) {
    return this.write(['models'], async (tx) => {
      const models = tx.objectStore('models')
      await models.put(retire(await models.get(model.url), model), model.url)
    })
  }

  async model(url: string) {
    return (await this.open()).get('models', url)
  }

  async models() {
    return (await this.open()).getAll('models')
  }

  removeModel(url: string) {
    return this.write(ALL, async (tx) => {
      const model = await tx.objectStore('models').get(url)
      if (model === undefined) return
      await tx.objectStore('models').delete(url)
      const rest = await tx.objectStore('models').getAll()
      await forget(tx, unshared([...model.addresses, ...model.retired], rest))
    })
  }

  prune(url: string) {
    return this.write(ALL, async (tx) => {
      const model = await tx.objectStore('models').get(url)
      if (model === undefined || model.retired.length === 0) return
      await tx.objectStore('models').put({ ...model, retired: [] }, url)
      const rest = await tx.objectStore('models').getAll()
      await forget(tx, unshared(model.retired, rest))
    })
  }

  close() {
    this.connection?.then(
      (db) => db.close(),
      () => undefined,
    )
    this.connection = undefined
  }
}

/** All chunks of a file: an array sorts after every number. */
function rangeOf(sha256: string): IDBKeyRange {
  return IDBKeyRange.bound([sha256, 0], [sha256, []])
}

async function mine(tx: Writing, sha256: string, writer: number): Promise<PartialFile> {
  const partial = await tx.objectStore('partials').get(sha256)
  if (partial?.writer !== writer) throw busyError()
  return partial
}

async function forget(tx: Writing, addresses: readonly string[]): Promise<void> {
  for (const address of addresses) {
    await tx.objectStore('complete').delete(address)
    await tx.objectStore('partials').delete(address)
    await tx.objectStore('chunks').delete(rangeOf(address))
  }
}

function outdatedError(): ShardError {
  return new ShardError(
    'outdated',
    'This app was updated in another tab; reload this page to go on.',
  )
}
