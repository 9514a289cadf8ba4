/**
 * What the page puts on `window.choir` for tests, the demo and curious people: the room,
 * what was asked last, and what was fetched.
 */
import type { HandDeal } from './other-deals.ts'
import type { StageApi, StageStats } from '../../workers/stage/api.ts'
import type { ChatActions, RoomSession } from './types.ts'
import type { RoomShards } from './workers.ts'

export interface LastAnswer {
  readonly promptIds: readonly number[]
  /** Grows while the answer streams; the token that ends it comes last. */
  readonly tokenIds: readonly number[]
}

export interface Fetched {
  /** Bytes that came from room mates or the origin since the page was opened. */
  readonly bytes: number
  /** Content addresses that were asked for, each once. */
  readonly shards: readonly string[]
}

/** Notes what passes through the two workers of a session. */
export class Witness {
  lastAnswer: LastAnswer | null = null
  fetched: Fetched = { bytes: 0, shards: [] }
  /** The stage's newest figures; they come about once a second while it works. */
  stats: StageStats | null = null

  stage(stage: StageApi): StageApi {
    return {
      ...stage,
      onStats: (listener) =>
        stage.onStats((stats) => {
          this.stats = stats
          listener(stats)
        }),
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
      put: async (sha256, bytes) => {
        await shards.put(sha256, bytes)
        const came = bytes instanceof Blob ? bytes.size : 0
        this.fetched = { ...this.fetched, bytes: this.fetched.bytes + came }
      },
    }
  }
}

/** What `window.choir` is: the room as its screens have it, and nothing behind it. */
export class RoomHook extends EventTarget implements RoomSession {
  readonly #room: RoomSession
  readonly #witness: Witness
  readonly #hand: HandDeal

  constructor(room: RoomSession, witness: Witness, hand: HandDeal) {
    super()
    this.#room = room
    this.#witness = witness
    this.#hand = hand
    room.addEventListener('change', () => this.dispatchEvent(new Event('change')))
  }

  get view(): RoomSession['view'] {
    return this.#room.view
  }

  get chat(): ChatActions {
    return this.#room.chat
  }

  get lastAnswer(): LastAnswer | null {
    return this.#witness.lastAnswer
  }

  get fetched(): Fetched {
    return this.#witness.fetched
  }

  get stats(): StageStats | null {
    return this.#witness.stats
  }

  /** Where this phone coordinates and was opened with `?deal=hand`: layers of each phone. */
  dealLayers(layers: readonly number[]): void {
    this.#hand.tell(layers)
  }

  ask(text: string): void {
    this.#room.ask(text)
  }

  stop(): void {
    this.#room.stop()
  }

  clear(): void {
    this.#room.clear()
  }

  admit(knock: string): void {
    this.#room.admit(knock)
  }

  deny(knock: string): void {
    this.#room.deny(knock)
  }

  rename(name: string): void {
    this.#room.rename(name)
  }

  setMemoryBudget(bytes: number): void {
    this.#room.setMemoryBudget(bytes)
  }

  setSampling(settings: Parameters<RoomSession['setSampling']>[0]): void {
    this.#room.setSampling(settings)
  }

  leave(): Promise<void> {
    return this.#room.leave()
  }
}
