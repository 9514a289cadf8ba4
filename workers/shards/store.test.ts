import 'fake-indexeddb/auto'
import { openDB } from 'idb'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { shardErrorCode } from './errors.ts'
import { openIndexedStore } from './indexed-store.ts'
import { createMemoryStore } from './memory-store.ts'
import { openStore } from './open-store.ts'
import type { ShardStore } from './store.ts'

const A = 'a'.repeat(64)
const B = 'b'.repeat(64)
const C = 'c'.repeat(64)
let names = 0
const fresh = () => `store-${names++}`
const blob = (...bytes: number[]) => new Blob([Uint8Array.from(bytes)])
const bytesIn = async (value: Blob | undefined) =>
  value && [...new Uint8Array(await value.arrayBuffer())]

/** The browser's own methods, to be called with their object. */
const native = {
  put: Reflect.get(IDBObjectStore.prototype, 'put'),
  open: Reflect.get(IDBFactory.prototype, 'open'),
}

async function fill(store: ShardStore, sha256: string, ...chunks: number[][]) {
  const partial = await store.begin(sha256)
  if (partial === 'complete') throw new Error('complete already')
  for (const chunk of chunks)
    await store.append(sha256, partial.writer, blob(...chunk), '"1"')
  await store.complete(sha256, partial.writer)
}

afterEach(() => vi.restoreAllMocks())

describe.each([
  ['indexeddb', () => openIndexedStore(fresh())],
  ['memory', () => Promise.resolve(createMemoryStore())],
] as const)('shard store (%s)', (kind, open) => {
  it('says what it is', async () => {
    expect((await open()).kind).toBe(kind)
  })

  it('gives a file only once it is complete', async () => {
    const store = await open()
    const partial = await store.begin(A)
    if (partial === 'complete') throw new Error('new store')
    expect(partial.sizes).toEqual([])
    await store.append(A, partial.writer, blob(1, 2, 3), '"x"')
    await store.append(A, partial.writer, blob(4), '"x"')
    expect(await store.get(A)).toBeUndefined()
    expect(await store.size(A)).toBeUndefined()
    expect(await store.partialSize(A)).toBe(4)
    expect(await bytesIn(await store.chunk(A, 0))).toEqual([1, 2, 3])
    await store.complete(A, partial.writer)
    expect(await bytesIn(await store.get(A))).toEqual([1, 2, 3, 4])
    expect(await store.size(A)).toBe(4)
    expect(await store.begin(A)).toBe('complete')
  })

  it('lets a later writer go on and refuses the earlier one', async () => {
    const store = await open()
    const first = await store.begin(A)
    if (first === 'complete') throw new Error('new store')
    await store.append(A, first.writer, blob(1), '"x"')
    const second = await store.begin(A)
    if (second === 'complete') throw new Error('not complete')
    expect(second).toMatchObject({ etag: '"x"', sizes: [1] })
    const late = store.append(A, first.writer, blob(9), '"x"')
    await expect(late.catch(shardErrorCode)).resolves.toBe('busy')
    await expect(store.complete(A, first.writer).catch(shardErrorCode)).resolves.toBe(
      'busy',
    )
    await store.append(A, second.writer, blob(2), '"x"')
    await store.complete(A, second.writer)
    expect(await bytesIn(await store.get(A))).toEqual([1, 2])
    await expect(
      store.append(A, second.writer, blob(3), null).catch(shardErrorCode),
    ).resolves.toBe('busy')
  })

  it('begins anew', async () => {
    const store = await open()
    const partial = await store.begin(A)
    if (partial === 'complete') throw new Error('new store')
    await store.append(A, partial.writer, blob(1, 2), '"x"')
    await store.restart(A, partial.writer)
    expect(await store.begin(A)).toMatchObject({ etag: null, sizes: [] })
    expect(await store.chunk(A, 0)).toBeUndefined()
  })

  it('forgets a file without touching its neighbours', async () => {
    const store = await open()
    await fill(store, A, [1])
    await fill(store, B, [2])
    await store.discard(A)
    expect(await store.get(A)).toBeUndefined()
    expect(await store.begin(A)).toMatchObject({ sizes: [] })
    expect(await bytesIn(await store.get(B))).toEqual([2])
  })

  it('keeps shards that two models share until both are removed', async () => {
    const store = await open()
    for (const address of [A, B, C]) await fill(store, address, [1])
    await store.saveModel({ url: 'one', name: 'One', json: '{}', addresses: [A, B] })
    await store.saveModel({ url: 'two', name: 'Two', json: '{}', addresses: [B, C] })
    await store.removeModel('one')
    expect(await Promise.all([A, B, C].map((each) => store.size(each)))).toEqual([
      undefined,
      1,
      1,
    ])
    await store.removeModel('two')
    expect(await store.size(B)).toBeUndefined()
    expect(await store.models()).toEqual([])
  })

  it('keeps files of an older manifest until the new one has been fetched', async () => {
    const store = await open()
    for (const address of [A, B]) await fill(store, address, [1])
    const model = { url: 'one', name: 'One', json: '{}' }
    await store.saveModel({ ...model, addresses: [A, B] })
    await store.saveModel({ ...model, addresses: [B, C] })
    expect(await store.size(A)).toBe(1)
    expect((await store.model('one'))?.retired).toEqual([A])
    await store.prune('one')
    expect(await store.size(A)).toBeUndefined()
    expect(await store.size(B)).toBe(1)
    expect((await store.model('one'))?.retired).toEqual([])
  })
})

describe('a full disk', () => {
  const quota = () => new DOMException('no room', 'QuotaExceededError')

  it.each(['put', 'commit'] as const)(
    'loses nothing that was complete (at %s)',
    async (at) => {
      const store = await openIndexedStore(fresh())
      await fill(store, A, [1, 2])
      const partial = await store.begin(B)
      if (partial === 'complete') throw new Error('new file')
      await store.append(B, partial.writer, blob(3), null)
      if (at === 'put') {
        vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(() => {
          throw quota()
        })
      } else {
        const { put } = native
        vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (
          this: IDBObjectStore,
          ...args
        ) {
          const request = put.apply(this, args)
          vi.spyOn(this.transaction, 'error', 'get').mockReturnValue(quota())
          this.transaction.abort()
          return request
        })
      }
      const failed = await store
        .append(B, partial.writer, blob(4), null)
        .catch((error: unknown) => error)
      vi.restoreAllMocks()
      expect(shardErrorCode(failed)).toBe('full')
      expect(String(failed)).toContain("This device's storage is full")
      expect(await bytesIn(await store.get(A))).toEqual([1, 2])
      expect(await store.partialSize(B)).toBe(1)
      await store.append(B, partial.writer, blob(4), null)
      await store.complete(B, partial.writer)
      expect(await bytesIn(await store.get(B))).toEqual([3, 4])
    },
  )

  it('is said at opening, instead of falling back to memory', async () => {
    vi.spyOn(IDBFactory.prototype, 'open').mockImplementation(() => {
      throw quota()
    })
    const failed = openStore(fresh()).catch(shardErrorCode)
    await expect(failed).resolves.toBe('full')
  })

  it('stops the memory store as well', async () => {
    const store = createMemoryStore(3)
    await fill(store, A, [1, 2])
    await expect(fill(store, B, [3, 4]).catch(shardErrorCode)).resolves.toBe('full')
    expect(await store.size(A)).toBe(2)
  })
})

describe('browsers that differ', () => {
  it('falls back to memory where IndexedDB is denied', async () => {
    vi.spyOn(IDBFactory.prototype, 'open').mockImplementation(() => {
      throw new DOMException('denied', 'SecurityError')
    })
    expect((await openStore(fresh())).kind).toBe('memory')
  })

  it('stores ArrayBuffers where Blobs cannot be stored', async () => {
    const { put } = native
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (
      this: IDBObjectStore,
      value: unknown,
      key,
    ) {
      if (value instanceof Blob) throw new DOMException('no Blobs', 'DataCloneError')
      return put.call(this, value, key)
    })
    const store = await openIndexedStore(fresh())
    await fill(store, A, [1, 2], [3])
    expect(await bytesIn(await store.get(A))).toEqual([1, 2, 3])
    const partial = await store.begin(B)
    if (partial === 'complete') throw new Error('new file')
    await store.append(B, partial.writer, blob(7), null)
    expect(await bytesIn(await store.chunk(B, 0))).toEqual([7])
  })
})

describe('several tabs and versions', () => {
  it('finds after a reload what was stored before', async () => {
    const name = fresh()
    const before = await openIndexedStore(name)
    await fill(before, A, [1, 2])
    before.close()
    const after = await openStore(name)
    expect(after.kind).toBe('indexeddb')
    expect(await bytesIn(await after.get(A))).toEqual([1, 2])
  })

  it('makes way for a newer version and asks for a reload', async () => {
    const name = fresh()
    const old = await openIndexedStore(name)
    const newer = await openDB(name, 99)
    await expect(old.size(A).catch(shardErrorCode)).resolves.toBe('outdated')
    newer.close()
    await expect(openIndexedStore(name).catch(shardErrorCode)).resolves.toBe('outdated')
  })

  it('says so when an older tab is in the way, and does not block it later', async () => {
    const name = fresh()
    // A tab that ignores `versionchange`.
    const stuck = await openDB(name, 1)
    const { open } = native
    vi.spyOn(IDBFactory.prototype, 'open').mockImplementation(function (
      this: IDBFactory,
      database: string,
    ) {
      return open.call(this, database, 2)
    })
    await expect(openIndexedStore(name).catch(shardErrorCode)).resolves.toBe('blocked')
    vi.restoreAllMocks()
    stuck.close()
    const next = await openDB(name, 3)
    expect(next.version).toBe(3)
    next.close()
  })
})
