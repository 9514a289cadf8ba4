import 'fake-indexeddb/auto'
import { describe, expect, it } from 'vitest'
import { createShardsApi } from './api.ts'
import { shardErrorCode } from './errors.ts'
import { MAX_DOWNLOADS } from './fetch-files.ts'
import { openIndexedStore } from './indexed-store.ts'
import { createLock } from './locks.ts'
import { createMemoryStore } from './memory-store.ts'
import type { ShardStore } from './store.ts'
import { addressOf, bytesOf, Origin, serveModel, TestClock } from './testing/origin.ts'
import type { FetchProgress } from './types.ts'

const MIB = 2 ** 20
const shards = [1, 2, 3, 4, 5].map((seed) => bytesOf(200_000 + seed, seed))
let names = 0

interface SetUp {
  readonly store?: ShardStore
  readonly storage?: Pick<StorageManager, 'estimate' | 'persisted'>
  readonly origin?: Origin
}

async function setUp({
  store,
  storage,
  origin = new Origin('https://app.test/models/'),
}: SetUp = {}) {
  const clock = new TestClock()
  const api = createShardsApi({
    store: store ?? (await openIndexedStore(`api-${names++}`)),
    network: {
      fetch: origin.fetch,
      clock,
      random: () => 0.5,
      origin: 'https://app.test',
    },
    lock: createLock(undefined),
    storage,
    base: 'https://app.test/assets/worker.js',
  })
  return { api, origin, clock }
}
const ignore = () => undefined

describe('opening a model', () => {
  it('takes relative addresses and keeps the manifest for offline use', async () => {
    const store = createMemoryStore()
    const first = await setUp({ store })
    const model = serveModel(first.origin, 'tiny', shards)
    expect(await first.api.open('/models/tiny')).toEqual(model.manifest)
    const later = await setUp({ store })
    later.origin.fail('*', { kind: 'offline' })
    expect(await later.api.open(model.url)).toEqual(model.manifest)
    expect(await later.api.manifest('/models/tiny/')).toEqual(model.manifest)
  })

  it('does not wait long for a slow network when there is a stored one', async () => {
    const store = createMemoryStore()
    const first = await setUp({ store })
    const model = serveModel(first.origin, 'tiny', shards)
    await first.api.open(model.url)
    const later = await setUp({ store, origin: first.origin })
    later.origin.fail('*', { kind: 'stall', after: 10 })
    const opening = later.api.open(model.url)
    while (later.origin.stalled === 0) await new Promise(setImmediate)
    later.clock.expire()
    expect(await opening).toEqual(model.manifest)
  })

  it('prefers the stored manifest to a login page', async () => {
    const { api, origin } = await setUp()
    const model = serveModel(origin, 'tiny', shards)
    await api.open(model.url)
    origin.put('tiny/manifest.json', new TextEncoder().encode('<html>Welcome</html>'))
    expect(await api.open(model.url)).toEqual(model.manifest)
  })

  it.each([
    ['no folder', 'nowhere/', 'not-found', /There is no cut model at .*404/],
    ['another scheme', 'ftp://x.test/', 'bad-model', /not the address of a model/],
    ['no JSON', 'html/', 'bad-model', /not JSON/],
    ['another JSON', 'json/', 'bad-model', /not a valid Choir manifest/],
  ])('says what is wrong: %s', async (_, url, code, sentence) => {
    const { api, origin } = await setUp()
    origin.put('html/manifest.json', new TextEncoder().encode('<html>'))
    origin.put('json/manifest.json', new TextEncoder().encode('{"a":1}'))
    const address = url.includes(':') ? url : origin.url + url
    const error: unknown = await api.open(address).catch((error: unknown) => error)
    expect(shardErrorCode(error)).toBe(code)
    expect(String(error)).toMatch(sentence)
  })

  it('says when the server cannot be reached at all', async () => {
    const { api, origin } = await setUp()
    origin.fail('*', { kind: 'offline' })
    const opening = api.open(`${origin.url}tiny/`).catch(shardErrorCode)
    await expect(opening).resolves.toBe('network')
  })
})

describe('fetching', () => {
  it('completes shards and small files, progress never falling and ending at all', async () => {
    const { api, origin } = await setUp()
    const model = serveModel(origin, 'tiny', shards)
    const told: FetchProgress[] = []
    origin.fail(`tiny/shards/${model.shards[0] ?? ''}.bin`, {
      kind: 'flip',
      at: 100_000,
    })
    const job = { id: 'a', url: model.url, shards: model.shards }
    const { fetchedBytes } = await api.fetch(job, (progress) => told.push(progress))
    expect(fetchedBytes).toBe(model.bytes + shards[0]!.byteLength)
    expect(told.at(-1)).toEqual({
      doneBytes: model.bytes,
      totalBytes: model.bytes,
      fetchedBytes,
    })
    const done = told.map((each) => each.doneBytes)
    expect(done).toEqual([...done].sort((a, b) => a - b))
    expect(await api.has([...model.shards, 'f'.repeat(64)])).toEqual(model.shards)
    const blob = await api.get(model.shards[1]!)
    expect(addressOf(new Uint8Array(await blob!.arrayBuffer()))).toBe(model.shards[1])
  })

  it('asks for nothing twice and only for what is wanted', async () => {
    const { api, origin } = await setUp()
    const model = serveModel(origin, 'tiny', shards)
    const [one, two] = model.shards
    await api.fetch({ id: 'a', url: model.url, shards: [one!] }, ignore)
    const before = origin.requests.length
    const again = await api.fetch(
      { id: 'b', url: model.url, shards: [one!, two!, two!] },
      ignore,
    )
    expect(again.fetchedBytes).toBe(shards[1]!.byteLength)
    expect(origin.requests.slice(before).map((each) => each.path)).toEqual([
      `tiny/shards/${two!}.bin`,
    ])
  })

  it('has no more files on their way than the bound', async () => {
    const { api, origin } = await setUp()
    const model = serveModel(origin, 'tiny', shards)
    await api.fetch({ id: 'a', url: model.url, shards: model.shards }, ignore)
    expect(origin.mostOpen).toBe(MAX_DOWNLOADS)
    expect(origin.open).toBe(0)
  })

  it('stops on cancel and goes on later', async () => {
    const { api, origin } = await setUp()
    const model = serveModel(origin, 'tiny', [bytesOf(9 * MIB, 8)])
    const path = `tiny/shards/${model.shards[0]!}.bin`
    origin.fail(path, { kind: 'stall', after: 6 * MIB })
    const job = { id: 'a', url: model.url, shards: model.shards }
    const fetching = api.fetch(job, ignore)
    while (origin.stalled === 0) await new Promise(setImmediate)
    api.cancel('a')
    await expect(fetching).rejects.toMatchObject({ name: 'AbortError' })
    const told: FetchProgress[] = []
    const { fetchedBytes } = await api.fetch(job, (progress) => told.push(progress))
    expect(fetchedBytes).toBe(3 * MIB)
    expect(told[0]?.doneBytes).toBe(model.bytes - 3 * MIB)
  })

  it('lets two jobs for the same file fetch it once', async () => {
    const { api, origin } = await setUp()
    const model = serveModel(origin, 'tiny', [bytesOf(MIB, 8)])
    await api.open(model.url)
    const fetched = await Promise.all(
      ['a', 'b'].map((id) =>
        api.fetch({ id, url: model.url, shards: model.shards }, ignore),
      ),
    )
    expect(fetched.reduce((sum, each) => sum + each.fetchedBytes, 0)).toBe(model.bytes)
  })

  it('ends with the first error and leaves no download behind', async () => {
    const { api, origin } = await setUp()
    const model = serveModel(origin, 'tiny', shards)
    const path = `tiny/shards/${model.shards[2]!}.bin`
    origin.fail(path, { kind: 'status', status: 404 })
    const job = { id: 'a', url: model.url, shards: model.shards }
    await expect(api.fetch(job, ignore).catch(shardErrorCode)).resolves.toBe('not-found')
    expect(origin.open).toBe(0)
    const { fetchedBytes } = await api.fetch(job, ignore)
    expect(fetchedBytes).toBeLessThan(model.bytes)
  })

  it('refuses a shard that the manifest does not have', async () => {
    const { api, origin } = await setUp()
    const model = serveModel(origin, 'tiny', shards)
    const job = { id: 'a', url: model.url, shards: ['f'.repeat(64)] }
    await expect(api.fetch(job, ignore).catch(shardErrorCode)).resolves.toBe('bad-model')
  })

  it('says before it begins how much room is missing', async () => {
    const storage = {
      estimate: () => Promise.resolve({ quota: 1_500_000, usage: 1_000_000 }),
      persisted: () => Promise.resolve(true),
    }
    const { api, origin } = await setUp({ storage })
    const model = serveModel(origin, 'tiny', shards)
    const job = { id: 'a', url: model.url, shards: model.shards }
    const error: unknown = await api.fetch(job, ignore).catch((error: unknown) => error)
    expect(shardErrorCode(error)).toBe('full')
    expect(String(error)).toContain('the model needs 0.6 MB more')
    expect(origin.requests.map((each) => each.path)).toEqual(['tiny/manifest.json'])
  })

  it('says how much is missing when the disk fills up on the way', async () => {
    const { api, origin } = await setUp({ store: createMemoryStore(500_000) })
    const model = serveModel(origin, 'tiny', shards)
    const job = { id: 'a', url: model.url, shards: model.shards }
    const error: unknown = await api.fetch(job, ignore).catch((error: unknown) => error)
    expect(shardErrorCode(error)).toBe('full')
    expect(String(error)).toMatch(/the model needs 0\.\d MB more; free some space/)
    expect((await api.has(model.shards)).length).toBeGreaterThan(0)
  })
})

describe('what is kept', () => {
  it('reports and removes models; a shared shard stays', async () => {
    const storage = {
      estimate: () => Promise.resolve({ quota: 1e9, usage: 5 }),
      persisted: () => Promise.resolve(true),
    }
    const { api, origin } = await setUp({ storage })
    const one = serveModel(origin, 'one', shards.slice(0, 2), 'One')
    const two = serveModel(origin, 'two', shards.slice(1, 3), 'Two')
    for (const { url, shards } of [one, two])
      await api.fetch({ id: url, url, shards }, ignore)
    expect(await api.storage()).toEqual({
      kind: 'indexeddb',
      persisted: true,
      usedBytes: 5,
      quotaBytes: 1e9,
      models: [
        { url: one.url, name: 'One', bytes: one.bytes },
        { url: two.url, name: 'Two', bytes: two.bytes },
      ],
    })
    await api.remove(one.url)
    expect(await api.has([...one.shards, ...two.shards])).toEqual([
      one.shards[1],
      ...two.shards,
    ])
    expect((await api.storage()).models.map((model) => model.name)).toEqual(['Two'])
  })

  it('drops what only an older manifest named, once the new one is fetched', async () => {
    const { api, origin } = await setUp()
    const old = serveModel(origin, 'one', shards.slice(0, 2))
    await api.fetch({ id: 'a', url: old.url, shards: old.shards }, ignore)
    const next = serveModel(origin, 'one', shards.slice(1, 3))
    await api.open(next.url)
    expect(await api.has(old.shards)).toEqual(old.shards)
    await api.fetch({ id: 'a', url: next.url, shards: next.shards }, ignore)
    expect(await api.has(old.shards)).toEqual([old.shards[1]])
  })

  it('takes bytes from a room mate only if they are the right ones', async () => {
    const { api, origin } = await setUp()
    const model = serveModel(origin, 'tiny', shards)
    await api.open(model.url)
    const [one, two, three] = model.shards
    await api.put(one!, shards[0]!.slice())
    await api.put(two!, new Blob([shards[1]!]).stream())
    const wrong = api.put(three!, shards[3]!.slice())
    await expect(wrong.catch(shardErrorCode)).resolves.toBe('wrong-hash')
    expect(await api.has(model.shards)).toEqual([one, two])
    const job = { id: 'a', url: model.url, shards: [one!, two!] }
    const { fetchedBytes } = await api.fetch(job, ignore)
    expect(fetchedBytes).toBe(
      model.bytes - shards.reduce((sum, each) => sum + each.byteLength, 0),
    )
  })

  it('stops a room mate that sends without end', async () => {
    const { api, origin } = await setUp()
    const model = serveModel(origin, 'tiny', shards)
    await api.open(model.url)
    let sent = 0
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        sent += MIB
        controller.enqueue(new Uint8Array(MIB))
      },
    })
    await expect(api.put(model.shards[0]!, endless).catch(shardErrorCode)).resolves.toBe(
      'wrong-hash',
    )
    expect(sent).toBeLessThan(4 * MIB)
    expect(await api.has(model.shards)).toEqual([])
  })
})
