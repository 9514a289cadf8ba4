/** Reads verified bytes of one model for a stage. */
import type { Manifest } from '../../model-split/manifest.ts'
import { StageError } from '../stage/types.ts'
import type { ShardReader } from '../stage/types.ts'
import { sha256Of } from './digest.ts'
import type { ShardSource } from './types.ts'

export interface ShardReaderOptions {
  readonly manifest: Manifest
  /** The store (`openStore()`), or a shards worker over a port. */
  readonly source: Pick<ShardSource, 'get' | 'discard'>
  /** Makes a file complete again that is missing or rotten; without it, that is an error. */
  readonly refetch?: (sha256: string) => Promise<void>
  /** Files that have been hashed in this session; by default one set per worker. */
  readonly verified?: Set<string>
}

const sessionVerified = new Set<string>()

/**
 * Bytes in storage may rot, so each file is hashed again at its first use in a session. A
 * wrong one is deleted and refetched once; it is never handed out.
 */
export function createShardReader(options: ShardReaderOptions): ShardReader {
  const { manifest, source, refetch, verified = sessionVerified } = options

  /** The right bytes, or what is wrong with those that are stored. */
  const look = async (sha256: string, bytes: number) => {
    const blob = await source.get(sha256)
    if (blob === undefined) return 'is not on this device'
    if (blob.size !== bytes) return 'is damaged on this device'
    try {
      const data = new Uint8Array(await blob.arrayBuffer())
      if (!verified.has(sha256) && (await sha256Of(data)) !== sha256)
        return 'is damaged on this device'
      verified.add(sha256)
      return data
    } catch {
      return 'can no longer be read on this device'
    }
  }

  const read = async (sha256: string, bytes: number, name: string) => {
    const first = await look(sha256, bytes)
    if (typeof first !== 'string') return first
    verified.delete(sha256)
    await source.discard(sha256)
    if (refetch !== undefined) {
      await refetch(sha256)
      const second = await look(sha256, bytes)
      if (typeof second !== 'string') return second
      await source.discard(sha256)
    }
    throw new StageError(
      'bad-model',
      `${name} of ${manifest.model.name} ${first}; download the model again.`,
    )
  }

  return {
    file(name) {
      const files = [manifest.graph, manifest.golden, ...manifest.files]
      const file = files.find((each) => each.file === name)
      if (file === undefined) return Promise.reject(noSuch(manifest, name))
      return read(file.sha256, file.bytes, name)
    },
    shard(sha256) {
      const shard = manifest.shards[sha256]
      if (shard === undefined) return Promise.reject(noSuch(manifest, sha256))
      return read(sha256, shard.bytes, `Shard ${sha256.slice(0, 12)}…`)
    },
  }
}

function noSuch(manifest: Manifest, name: string): StageError {
  return new StageError(
    'bad-model',
    `The model ${manifest.model.name} has no file ${name}; open it again, it may have changed.`,
  )
}
