import { describe, expect, it } from 'vitest'
import { tinyTokenizer } from '../../e2e/fixtures/tiny-tokenizer.ts'
import { createShardsApi } from '../shards/api.ts'
import { createLock } from '../shards/locks.ts'
import { createMemoryStore } from '../shards/memory-store.ts'
import { Origin, serveModel, TestClock } from '../shards/testing/origin.ts'
import { createTextApi } from './api.ts'

/** A shards worker with a model whose text files have been fetched. */
async function shardsWithModel(files: Readonly<Record<string, string>>) {
  const origin = new Origin()
  const shards = createShardsApi({
    store: createMemoryStore(),
    network: {
      fetch: origin.fetch,
      clock: new TestClock(),
      random: Math.random,
      origin: null,
    },
    lock: createLock(undefined),
    storage: undefined,
    base: undefined,
  })
  const { url } = serveModel(origin, 'tiny', [], 'Tiny', files)
  await shards.fetch({ id: 'a', url, shards: [] }, () => undefined)
  return { url, shards, origin }
}

describe('the text worker', () => {
  it('reads tokenizer and template from the store, without network', async () => {
    const { url, shards, origin } = await shardsWithModel(tinyTokenizer())
    const requests = origin.requests.length
    const text = createTextApi(() => Promise.resolve(shards))
    expect(await text.open(url)).toEqual({ template: 'model' })
    const ids = await text.encode([{ role: 'user', content: 'ab😀' }])
    expect(await text.push(1, ids.slice(0, -14))).toBe('user\nab')
    expect(origin.requests).toHaveLength(requests)
  })

  it('keeps the streams of several answers apart', async () => {
    const { url, shards } = await shardsWithModel(tinyTokenizer())
    const text = createTextApi(() => Promise.resolve(shards))
    await text.open(url)
    const [f0, ...rest] = [...new TextEncoder().encode('😀')].map((byte) => byte + 3)
    expect(await text.push(1, [f0!])).toBe('')
    expect(await text.push(2, ['a'.charCodeAt(0) + 3])).toBe('a')
    expect(await text.push(1, rest)).toBe('😀')
    expect(await text.push(2, [f0!])).toBe('')
    expect(await text.finish(2)).toBe('\uFFFD')
    expect(await text.finish(2)).toBe('')
    expect(await text.finish(1)).toBe('')
  })

  it('says what is missing', async () => {
    const { shards } = await shardsWithModel(tinyTokenizer())
    const text = createTextApi(() => Promise.resolve(shards))
    await expect(text.encode([])).rejects.toThrow('No model is open')
    const elsewhere = text.open('https://models.test/other/')
    await expect(elsewhere).rejects.toThrow('is not on this device; download it first')
  })
})
