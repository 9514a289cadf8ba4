import { describe, expect, it } from 'vitest'
import { StageError } from '../stage/types.ts'
import { createMemoryStore } from './memory-store.ts'
import { createShardReader } from './reader.ts'
import type { ShardStore } from './store.ts'
import { addressOf, bytesOf, Origin, serveModel } from './testing/origin.ts'

const good = bytesOf(100_000)
const { manifest, shards } = serveModel(new Origin(), 'tiny', [good])
const address = shards[0]!

async function save(store: ShardStore, sha256: string, bytes: Uint8Array<ArrayBuffer>) {
  const partial = await store.begin(sha256)
  if (partial === 'complete') throw new Error('complete already')
  await store.append(sha256, partial.writer, new Blob([bytes]), null)
  await store.complete(sha256, partial.writer)
}
/** As storage rots: marked complete, but a byte is another. */
const rotten = good.slice()
rotten[777]! ^= 1

describe('a shard reader', () => {
  it('gives shards and files', async () => {
    const source = createMemoryStore()
    await save(source, address, good)
    await save(source, manifest.graph.sha256, bytesOf(5_000, 91))
    const reader = createShardReader({ manifest, source, verified: new Set() })
    expect(addressOf(await reader.shard(address))).toBe(address)
    expect((await reader.file('graph.bin')).byteLength).toBe(5_000)
  })

  it('hashes each file once in a session', async () => {
    const source = createMemoryStore()
    await save(source, address, good)
    const verified = new Set<string>()
    await createShardReader({ manifest, source, verified }).shard(address)
    await source.discard(address)
    await save(source, address, rotten)
    // Not looked at again: the point of doing it once.
    const bytes = await createShardReader({ manifest, source, verified }).shard(address)
    expect(addressOf(bytes)).not.toBe(address)
    await expect(
      createShardReader({ manifest, source, verified: new Set() }).shard(address),
    ).rejects.toThrow(StageError)
  })

  it.each([
    ['a flipped byte', rotten],
    ['a missing end', good.slice(0, 50_000)],
  ])('never hands out %s, but deletes it', async (_, bytes) => {
    const source = createMemoryStore()
    await save(source, address, bytes)
    const reader = createShardReader({ manifest, source, verified: new Set() })
    await expect(reader.shard(address)).rejects.toMatchObject({
      code: 'bad-model',
      message: expect.stringContaining('is damaged on this device') as string,
    })
    expect(await source.size(address)).toBeUndefined()
  })

  it('refetches what is rotten or missing', async () => {
    const source = createMemoryStore()
    await save(source, address, rotten)
    let refetched = 0
    const reader = createShardReader({
      manifest,
      source,
      refetch: async (sha256) => {
        refetched++
        await save(source, sha256, good)
      },
      verified: new Set(),
    })
    expect(addressOf(await reader.shard(address))).toBe(address)
    await source.discard(address)
    expect(addressOf(await reader.shard(address))).toBe(address)
    expect(refetched).toBe(2)
  })

  it('gives up when the refetched bytes are wrong again', async () => {
    const source = createMemoryStore()
    const reader = createShardReader({
      manifest,
      source,
      refetch: (sha256) => save(source, sha256, rotten),
      verified: new Set(),
    })
    await expect(reader.shard(address)).rejects.toThrow('download the model again')
    expect(await source.size(address)).toBeUndefined()
  })

  it('treats a Blob that cannot be read as a missing one', async () => {
    const blob = new Blob([good])
    blob.arrayBuffer = () => Promise.reject(new DOMException('gone', 'NotReadableError'))
    let discarded = ''
    const source = {
      get: () => Promise.resolve(blob),
      discard: (sha256: string) => {
        discarded = sha256
        return Promise.resolve()
      },
    }
    const reader = createShardReader({ manifest, source, verified: new Set() })
    await expect(reader.shard(address)).rejects.toThrow('can no longer be read')
    expect(discarded).toBe(address)
  })

  it('knows only what the manifest names', async () => {
    const source = createMemoryStore()
    const reader = createShardReader({ manifest, source, verified: new Set() })
    await expect(reader.file('../secret')).rejects.toThrow('has no file')
    await expect(reader.shard('f'.repeat(64))).rejects.toThrow('has no file')
  })
})
