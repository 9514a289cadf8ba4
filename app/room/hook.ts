/**
 * What the page puts on `window.choir` for tests, the demo and curious people: the session,
 * what it asked last, and what it fetched.
 */
import type { StageApi } from '../../workers/stage/api.ts'
import type { RoomShards } from './workers.ts'

export interface LastAnswer {
  readonly promptIds: readonly number[]
  /** Grows while the answer streams; the token that ends it comes last. */
  readonly tokenIds: readonly number[]
}

export interface Fetched {
  /** Bytes that came over the network since the page was opened. */
  readonly bytes: number
  /** Content addresses that were asked for, each once. */
  readonly shards: readonly string[]
}

/** Notes what passes through the two workers of a session. */
export class Witness {
  lastAnswer: LastAnswer | null = null
  fetched: Fetched = { bytes: 0, shards: [] }

  stage(stage: StageApi): StageApi {
    return {
      ...stage,
      ask: (ask, onEvent) => {
        const tokenIds: number[] = []
        this.lastAnswer = { promptIds: ask.ids, tokenIds }
        return stage.ask(ask, (event) => {
          if (event.kind === 'token') tokenIds[event.index] = event.id
          if (event.kind === 'end' && event.eos !== undefined) tokenIds.push(event.eos)
          onEvent(event)
        })
      },
    }
  }

  shards(shards: RoomShards): RoomShards {
    return {
      ...shards,
      fetch: async (job, onProgress) => {
        const result = await shards.fetch(job, onProgress)
        this.fetched = {
          bytes: this.fetched.bytes + result.fetchedBytes,
          shards: [...new Set([...this.fetched.shards, ...job.shards])],
        }
        return result
      },
    }
  }
}
