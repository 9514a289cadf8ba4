import { expect, test } from 'vitest'
import { BulkPort } from './bulk-port.ts'
import { MateShards } from './mate-shards.ts'
import { FakeBulkChannel } from './testing/fake-bulk.ts'
import { fakeManifest, FakeShards } from './testing/fake-workers.ts'
import { VirtualClock } from './testing/virtual-clock.ts'

const SIZE = 3 * 2 ** 20 + 5
const [A, B] = ['a'.repeat(64), 'b'.repeat(64)]
const none = new AbortController().signal

/** Anna, who lacks everything, and Ben, who holds A; both know A and B. */
function twoMates({ delayMs = 5, slow = false } = {}) {
  const clock = new VirtualClock()
  const make = (holders: string[]) => {
    const shards = new FakeShards(clock, fakeManifest(2))
    const mates = new MateShards({
      shards,
      clock,
      bytesOf: (sha256) => (sha256 === A || sha256 === B ? SIZE : undefined),
      holders: () => holders,
      rttMs: () => null,
      isSlow: () => slow,
    })
    return { shards, mates }
  }
  const [anna, ben] = [make(['ben']), make([])]
  const bytes = Uint8Array.from({ length: SIZE }, (_, i) => i * 7)
  ben.shards.kept.set(A, new Blob([bytes]))
  const [near, far] = FakeBulkChannel.pair((task) => clock.after(delayMs, task))
  anna.mates.connect('ben', near)
  ben.mates.connect('anna', far)
  return { clock, anna, ben, near, far, bytes }
}

/** Blobs are read outside of virtual time. */
async function over<T>(clock: VirtualClock, work: Promise<T>): Promise<T> {
  const state = { done: false }
  const watched = work.finally(() => (state.done = true))
  watched.catch(() => undefined)
  while (!state.done) {
    await clock.advance(50)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return watched
}

const job = (...shards: string[]) => ({ id: 'job', url: '/models/m/', shards })

test('a mate gives what it holds, the origin the rest; all counts as fetched', async () => {
  const { clock, anna, far, bytes } = twoMates()
  const seen: number[] = []
  const fetching = anna.mates.fetch(job(A, B), ({ doneBytes }) => seen.push(doneBytes))
  const { fetchedBytes } = await over(clock, fetching)
  const kept = new Uint8Array(await anna.shards.kept.get(A)!.arrayBuffer())
  expect(Buffer.compare(kept, bytes)).toBe(0)
  expect(anna.shards.kept.has(B)).toBe(false)
  expect(fetchedBytes).toBe(SIZE + 10)
  expect(seen).toContain(SIZE)
  expect(anna.mates.bytesPerMs('ben')).toBeGreaterThan(0)
  // Frames share the link: little waits in its buffer.
  expect(far.mostBuffered).toBeLessThanOrEqual(96 * 1024)
})

test('what is here already is not asked for', async () => {
  const { clock, anna, bytes } = twoMates()
  anna.shards.kept.set(A, new Blob([bytes]))
  const { fetchedBytes } = await over(
    clock,
    anna.mates.fetch(job(A), () => undefined),
  )
  expect(fetchedBytes).toBe(10)
})

test('shards of no open model are not given away', async () => {
  const { clock, anna, ben, bytes } = twoMates()
  const other = 'c'.repeat(64)
  ben.shards.kept.set(other, new Blob([bytes]))
  const [near, far] = FakeBulkChannel.pair((task) => clock.after(5, task))
  ben.mates.connect('anna', far)
  const port = new BulkPort(near, { clock, read: () => Promise.resolve(undefined) })
  const got = await over(
    clock,
    port.want(other, SIZE, () => undefined, none),
  )
  expect(got).toBeNull()
  expect(anna.shards.kept.size).toBe(0)
})

test('a mate that falls silent costs a second, then the origin has its turn', async () => {
  const { clock, anna, near } = twoMates()
  let messages = 0
  near.tamper = (data) => (messages++ < 4 ? data : null)
  const asked = reach(anna, true)
  const began = clock.now()
  await over(
    clock,
    anna.mates.fetch(job(A), () => undefined),
  )
  expect(messages).toBeGreaterThan(4)
  expect(asked).toEqual(['job-help', 'job'])
  expect(clock.now() - began).toBeLessThan(2000)
})

test('a mate that falls silent while the origin is out of reach costs ten seconds', async () => {
  const { clock, anna, near } = twoMates()
  let messages = 0
  near.tamper = (data) => (messages++ < 4 ? data : null)
  const asked = reach(anna, false)
  const fetching = anna.mates.fetch(job(A), () => undefined)
  const failed = expect(over(clock, fetching)).rejects.toThrow('stopped')
  await clock.advance(20_000)
  expect(asked).toEqual(['job-help', 'job'])
  anna.mates.cancel('job')
  await failed
})

test('more bytes than promised, a wrong size and rubbish end the channel', async () => {
  const wrong: FakeBulkChannel['tamper'][] = [
    (data) => (typeof data === 'string' ? data : new ArrayBuffer(data.byteLength + 1)),
    (data) => (typeof data === 'string' ? data.replace(`${SIZE}`, `${SIZE + 1}`) : data),
    () => 'rubbish',
    () => JSON.stringify({ type: 'here', bytes: 2 ** 40 }),
    () => new ArrayBuffer(8),
  ]
  for (const tamper of wrong) {
    const { clock, anna, near, far } = twoMates()
    near.tamper = tamper
    await over(
      clock,
      anna.mates.fetch(job(A), () => undefined),
    )
    expect(anna.shards.kept.has(A)).toBe(false)
    expect(anna.shards.fetched).toEqual([[A]])
    expect([near.readyState, far.readyState]).toEqual(['closed', 'closed'])
  }
})

test('a stopped fetch stops the mate, and the channel serves the next one', async () => {
  const { clock, anna } = twoMates()
  const fetching = anna.mates.fetch(job(A), ({ doneBytes }) => {
    if (doneBytes > 2 ** 20) anna.mates.cancel('job')
  })
  await expect(over(clock, fetching)).rejects.toThrow(/stopped/)
  expect(anna.shards.kept.has(A)).toBe(false)
  await over(clock, Promise.resolve())
  await clock.advance(1000)
  await over(
    clock,
    anna.mates.fetch(job(A), () => undefined),
  )
  expect(anna.shards.kept.has(A)).toBe(true)
})

/** The origin brings everything at once, or cannot be reached; then a retry takes long. */
function reach(anna: ReturnType<typeof twoMates>['anna'], online: boolean): string[] {
  const asked: string[] = []
  const { shards } = anna
  const plain = shards.fetch.bind(shards)
  let stop: ((error: Error) => void) | null = null
  shards.cancel = () => stop?.(new Error('stopped'))
  shards.fetch = async (fetching, onProgress) => {
    asked.push(fetching.id)
    if (fetching.shards.every((sha256) => shards.kept.has(sha256)))
      return { fetchedBytes: 0 }
    if (!online) return new Promise((_, reject) => (stop = reject))
    const result = await plain(fetching, onProgress)
    for (const sha256 of fetching.shards) shards.kept.set(sha256, new Blob(['origin']))
    return result
  }
  return asked
}

test('where a mate is slow the origin helps, and the mate is let go once all is here', async () => {
  const { clock, anna } = twoMates({ delayMs: 100 })
  const asked = reach(anna, true)
  const began = clock.now()
  const fetching = anna.mates.fetch(job(A, B), () => undefined)
  await over(clock, fetching)
  expect(asked).toEqual(['job-help', 'job'])
  expect(await anna.shards.kept.get(A)?.text()).toBe('origin')
  expect(clock.now() - began).toBeLessThan(2000)
})

test('a mate that is known to be slow is not waited for at all', async () => {
  const { clock, anna } = twoMates({ slow: true })
  const asked = reach(anna, true)
  await over(
    clock,
    anna.mates.fetch(job(A), () => undefined),
  )
  expect(asked).toEqual(['job-help', 'job'])
  expect(await anna.shards.kept.get(A)?.text()).toBe('origin')
})

test('a slow mate gives all where the origin cannot be reached', async () => {
  const { clock, anna } = twoMates({ delayMs: 100 })
  const asked = reach(anna, false)
  const seen: number[] = []
  const fetching = anna.mates.fetch(job(A), ({ doneBytes }) => seen.push(doneBytes))
  await over(clock, fetching)
  expect(asked).toEqual(['job-help', 'job'])
  expect(anna.shards.kept.get(A)?.size).toBe(SIZE)
  // Of each piece nobody has to hear.
  expect(seen.length).toBeLessThan(100)
  expect(seen.at(-1)).toBe(SIZE)
})
