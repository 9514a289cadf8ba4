import 'fake-indexeddb/auto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { backoff } from './backoff.ts'
import { download } from './download.ts'
import type { Network, WantedFile } from './download.ts'
import { shardErrorCode } from './errors.ts'
import { openIndexedStore } from './indexed-store.ts'
import { createMemoryStore } from './memory-store.ts'
import { CHUNK_BYTES } from './store.ts'
import type { ShardStore } from './store.ts'
import { addressOf, bytesOf, Origin, TestClock } from './testing/origin.ts'

const MIB = 2 ** 20
const large = bytesOf(9 * MIB)
const small = bytesOf(300_000, 2)

function setUp(bytes = small, etag: string | null = '"1"') {
  const origin = new Origin()
  const clock = new TestClock()
  const url = origin.put('w.bin', bytes, etag)
  const file: WantedFile = {
    sha256: addressOf(bytes),
    bytes: bytes.byteLength,
    url,
    name: 'shards/w.bin',
  }
  const network: Network = {
    fetch: origin.fetch,
    clock,
    random: () => 0.5,
    origin: 'https://models.test',
  }
  const store: ShardStore = createMemoryStore()
  const stop = new AbortController()
  let here = 0
  let fetched = 0
  const run = (into = store) =>
    download(
      file,
      into,
      network,
      (now, came) => {
        here = now
        fetched += came
      },
      stop.signal,
    )
  return {
    origin,
    clock,
    file,
    network,
    store,
    stop,
    run,
    here: () => here,
    fetched: () => fetched,
  }
}

async function stored(store: ShardStore, sha256: string) {
  const blob = await store.get(sha256)
  // Comparing addresses is a thousand times faster than comparing arrays.
  return blob && addressOf(new Uint8Array(await blob.arrayBuffer()))
}

describe('a download', () => {
  it('stores a file of several chunks', async () => {
    const { run, store, file, origin, here } = setUp(large)
    await run()
    expect(await stored(store, file.sha256)).toBe(addressOf(large))
    expect(origin.requests).toEqual([{ path: 'w.bin', range: null, ifRange: null }])
    expect(here()).toBe(large.byteLength)
  })

  it('asks for nothing when the file is complete', async () => {
    const { run, origin } = setUp()
    await run()
    await run()
    expect(origin.requests).toHaveLength(1)
  })

  it('stores an empty file without asking', async () => {
    const { run, store, file, origin } = setUp(new Uint8Array(0))
    await run()
    expect(await store.size(file.sha256)).toBe(0)
    expect(origin.requests).toHaveLength(0)
  })

  it('goes on where the connection was cut, wherever that is', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: small.byteLength }), { maxLength: 4 }),
        fc.constantFrom('cut' as const, 'short' as const),
        async (cuts, kind) => {
          const { run, store, file, origin } = setUp()
          origin.fail('w.bin', ...cuts.map((after) => ({ kind, after })))
          await run()
          expect(await stored(store, file.sha256)).toBe(addressOf(small))
          expect(origin.sentBytes).toBe(small.byteLength)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('after a reload goes on from the last stored chunk, and hashes what was stored', async () => {
    const { run, store, file, origin, stop } = setUp(large)
    origin.fail('w.bin', { kind: 'stall', after: 6 * MIB })
    void run().catch(() => undefined)
    while (origin.stalled === 0) await new Promise(setImmediate)
    // No abort: the tab is gone, and with it what was not stored yet.
    const again = setUp(large)
    await download(
      file,
      store,
      { ...again.network, fetch: origin.fetch },
      () => undefined,
      again.stop.signal,
    )
    expect(origin.requests[1]).toEqual({
      path: 'w.bin',
      range: `bytes=${CHUNK_BYTES}-`,
      ifRange: '"1"',
    })
    expect(await stored(store, file.sha256)).toBe(addressOf(large))
    stop.abort()
  })

  it('keeps on stopping what has arrived, and ends with the reason', async () => {
    const { run, store, file, origin, stop } = setUp(large)
    origin.fail('w.bin', { kind: 'stall', after: 5 * MIB })
    const running = run()
    while (origin.stalled === 0) await new Promise(setImmediate)
    stop.abort(new DOMException('enough', 'AbortError'))
    await expect(running).rejects.toMatchObject({ name: 'AbortError' })
    expect(await store.partialSize(file.sha256)).toBe(5 * MIB)
  })

  it('gives up a connection that stalls and goes on', async () => {
    const { run, store, file, origin, clock } = setUp()
    origin.fail('w.bin', { kind: 'stall', after: 100_000 })
    const running = run()
    while (origin.stalled === 0) await new Promise(setImmediate)
    clock.expire()
    await running
    expect(origin.requests[1]?.range).toBe('bytes=100000-')
    expect(await stored(store, file.sha256)).toBe(addressOf(small))
  })
})

describe('a server that has its own mind', () => {
  it('ignores the range: the file begins anew', async () => {
    const { run, store, file, origin } = setUp()
    origin.fail('w.bin', { kind: 'cut', after: 200_000 }, { kind: 'ignore-range' })
    await run()
    expect(await stored(store, file.sha256)).toBe(addressOf(small))
    expect(origin.sentBytes).toBe(200_000 + small.byteLength)
  })

  it('changed the file, and If-Range tells', async () => {
    const { store, file, origin, network } = setUp()
    origin.put('w.bin', bytesOf(300_000, 5), '"0"')
    origin.fail('w.bin', { kind: 'cut', after: 200_000 })
    let requests = 0
    await download(
      file,
      store,
      {
        ...network,
        fetch: (url, init) => {
          if (++requests === 2) origin.put('w.bin', small, '"1"')
          return origin.fetch(url, init)
        },
      },
      () => undefined,
      new AbortController().signal,
    )
    expect(origin.requests.map((each) => each.ifRange)).toEqual([null, '"0"'])
    expect(await stored(store, file.sha256)).toBe(addressOf(small))
  })

  it.each([
    ['on another origin, where If-Range would need a preflight', '"0"', '"1"'],
    ['with weak ETags, which vouch for nothing', 'W/"0"', 'W/"1"'],
  ])('changed the file %s', async (_, before, after) => {
    const { store, file, origin, network } = setUp()
    origin.put('w.bin', bytesOf(300_000, 5), before)
    origin.fail('w.bin', { kind: 'cut', after: 200_000 })
    let requests = 0
    await download(
      file,
      store,
      {
        ...network,
        origin: 'https://app.test',
        fetch: (url, init) => {
          if (++requests === 2) origin.put('w.bin', small, after)
          return origin.fetch(url, init)
        },
      },
      () => undefined,
      new AbortController().signal,
    )
    expect(origin.requests.map(({ range, ifRange }) => [range, ifRange])).toEqual([
      [null, null],
      ['bytes=200000-', null],
      [null, null],
    ])
    expect(await stored(store, file.sha256)).toBe(addressOf(small))
  })

  it('sends no ETag: the hash decides, and the file is fetched once more', async () => {
    const { store, file, origin, network } = setUp(small, null)
    origin.put('w.bin', bytesOf(300_000, 5), null)
    origin.fail('w.bin', { kind: 'cut', after: 200_000 })
    let requests = 0
    await download(
      file,
      store,
      {
        ...network,
        fetch: (url, init) => {
          if (++requests === 2) origin.put('w.bin', small, null)
          return origin.fetch(url, init)
        },
      },
      () => undefined,
      new AbortController().signal,
    )
    expect(await stored(store, file.sha256)).toBe(addressOf(small))
    expect(origin.requests).toHaveLength(3)
  })

  it('answers 416: the file begins anew', async () => {
    const { run, store, file, origin } = setUp()
    origin.fail('w.bin', { kind: 'cut', after: 200_000 }, { kind: 'status', status: 416 })
    await run()
    expect(origin.requests.map((each) => each.range)).toEqual([
      null,
      'bytes=200000-',
      null,
    ])
    expect(await stored(store, file.sha256)).toBe(addressOf(small))
  })

  it('has a shorter file than the manifest says', async () => {
    const { run, origin, file, store } = setUp()
    origin.put('w.bin', small.slice(0, 250_000))
    await expect(run().catch(shardErrorCode)).resolves.toBe('network')
    expect(await store.size(file.sha256)).toBeUndefined()
  })

  it('has a longer one: no more than the expected bytes are read', async () => {
    const { run, origin, store, file } = setUp()
    origin.fail('w.bin', { kind: 'longer', extra: 10 * MIB })
    await run()
    expect(await stored(store, file.sha256)).toBe(addressOf(small))
    expect(origin.sentBytes).toBeLessThan(small.byteLength + MIB)
    expect(origin.open).toBe(0)
  })
})

describe('wrong bytes', () => {
  it('are dropped and fetched once more', async () => {
    const { run, store, file, origin } = setUp(large)
    origin.fail('w.bin', { kind: 'flip', at: 5_000_000 })
    await run()
    expect(await stored(store, file.sha256)).toBe(addressOf(large))
    expect(origin.requests.map((each) => each.range)).toEqual([null, null])
  })

  it('twice end with the name of the file, and are never complete', async () => {
    const { run, store, file, origin } = setUp(large)
    const flip = { kind: 'flip', at: 10 } as const
    origin.fail('w.bin', flip, flip)
    const error: unknown = await run().catch((error: unknown) => error)
    expect(shardErrorCode(error)).toBe('wrong-hash')
    expect(String(error)).toContain('shards/w.bin')
    expect(await store.size(file.sha256)).toBeUndefined()
    expect(await store.partialSize(file.sha256)).toBe(0)
  })
})

describe('trying again', () => {
  it('waits longer each time, with jitter', () => {
    expect([1, 2, 3, 7, 20].map((failures) => backoff(failures, 0))).toEqual([
      250, 500, 1000, 15_000, 15_000,
    ])
    expect(backoff(3, 0.5)).toBe(1500)
  })

  it('survives no network, 429 and 503, and honours Retry-After', async () => {
    const { run, store, file, origin, clock } = setUp()
    origin.fail(
      'w.bin',
      { kind: 'offline' },
      { kind: 'status', status: 503 },
      { kind: 'status', status: 429, headers: { 'Retry-After': '7' } },
    )
    await run()
    expect(clock.pauses).toEqual([375, 750, 7000])
    expect(await stored(store, file.sha256)).toBe(addressOf(small))
  })

  it('reads a Retry-After that is a date', async () => {
    const { run, origin, clock } = setUp()
    const date = new Date(clock.now() + 20_000).toUTCString()
    origin.fail('w.bin', {
      kind: 'status',
      status: 503,
      headers: { 'Retry-After': date },
    })
    await run()
    expect(clock.pauses).toEqual([20_000])
  })

  it('does not wait for hours', async () => {
    const { run, origin, clock } = setUp()
    origin.fail('w.bin', {
      kind: 'status',
      status: 429,
      headers: { 'Retry-After': '86400' },
    })
    await expect(run().catch(shardErrorCode)).resolves.toBe('network')
    expect(clock.pauses).toEqual([])
  })

  it.each([404, 403, 410])('does not try again after %d', async (status) => {
    const { run, origin } = setUp()
    origin.fail('w.bin', { kind: 'status', status })
    const error: unknown = await run().catch((error: unknown) => error)
    expect(shardErrorCode(error)).toBe('not-found')
    expect(String(error)).toContain(String(status))
    expect(origin.requests).toHaveLength(1)
  })

  it('gives up after six tries in a row without new bytes', async () => {
    const { run, origin, store, file } = setUp()
    origin.fail('w.bin', { kind: 'cut', after: 100_000 })
    origin.fail(
      'w.bin',
      ...Array.from({ length: 9 }, () => ({ kind: 'offline' }) as const),
    )
    const error: unknown = await run().catch((error: unknown) => error)
    expect(shardErrorCode(error)).toBe('network')
    expect(String(error)).toContain('could not be reached')
    expect(origin.requests).toHaveLength(6)
    expect(await store.partialSize(file.sha256)).toBe(100_000)
  })

  it('keeps what was complete when the disk is full', async () => {
    const { run, file } = setUp(large)
    const store = createMemoryStore(5 * MIB)
    const error: unknown = await run(store).catch((error: unknown) => error)
    expect(shardErrorCode(error)).toBe('full')
    expect(await store.partialSize(file.sha256)).toBe(CHUNK_BYTES)
  })
})

describe('over a real connection', () => {
  const closers: (() => void)[] = []
  afterEach(() => {
    for (const close of closers.splice(0)) close()
  })

  it('goes on after each eighth, into IndexedDB', async () => {
    const eighth = Math.ceil(large.byteLength / 8)
    const starts: number[] = []
    const server = createServer((request, response) => {
      const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
      starts.push(start)
      response.writeHead(start === 0 ? 200 : 206, {
        'Content-Length': large.byteLength - start,
        ETag: '"1"',
        ...(start > 0 && {
          'Content-Range': `bytes ${start}-${large.byteLength - 1}/${large.byteLength}`,
        }),
      })
      response.write(large.subarray(start, start + eighth), () => response.destroy())
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closers.push(() => server.close())
    const { port } = server.address() as AddressInfo
    const { network, file } = setUp(large)
    const store = await openIndexedStore('real-connection')
    await download(
      { ...file, url: `http://127.0.0.1:${port}/w.bin` },
      store,
      { ...network, fetch: (url, init) => fetch(url, init) },
      () => undefined,
      new AbortController().signal,
    )
    expect(await stored(store, file.sha256)).toBe(addressOf(large))
    expect(starts.length).toBeGreaterThanOrEqual(8)
    store.close()
  })
})
