/**
 * Where shards come from: the own store, then a room mate that holds them, then the origin.
 * Where mates are slow the origin helps: a move of layers lasts as long as its weights take.
 */
import type { Manifest } from '../../model-split/manifest.ts'
import { shardsOf } from '../../model-split/span.ts'
import { spansOf, type RingPlan } from '../../workers/ring/types.ts'
import type { FetchProgress, ShardsApi } from '../../workers/shards/types.ts'
import { BulkPort, type BulkChannel } from './bulk-port.ts'
import { every, type Clock } from './clock.ts'
import type { RoomShards } from './workers.ts'

export interface MateOptions {
  readonly shards: RoomShards
  readonly clock: Clock
  /** Size of a shard by the manifest; undefined where it is none of the model's. */
  readonly bytesOf: (sha256: string) => number | undefined
  /** Devices that should hold the shard; see `holdersOf`. */
  readonly holders: (sha256: string) => readonly string[]
  /** The nearest is asked first; null: not known. */
  readonly rttMs: (device: string) => number | null
  /** Whether the device is much slower than usual: it is asked last, and not alone. */
  readonly isSlow: (device: string) => boolean
}

/** Mates that give less than this are helped by the origin, bytes per ms: ordinary Wi-Fi. */
const LEAST_BYTES_PER_MS = 2000
const JUDGED_MS = 1000
/** Progress is told no more often than this. */
const TELL_MS = 100

type Fetch = ShardsApi['fetch']

/** Devices that run what the shard belongs to. */
export function holdersOf(
  manifest: Manifest | null,
  plan: RingPlan | null,
  sha256: string,
): string[] {
  if (!manifest || !plan) return []
  return plan.stages
    .filter((_, i) =>
      shardsOf(manifest, spansOf(plan, i, manifest.layers)).includes(sha256),
    )
    .map(({ device }) => device)
}

/** Bytes that a mate sends are hashed by the store; wrong ones cost a fetch, no more. */
export class MateShards implements Pick<ShardsApi, 'fetch' | 'cancel'> {
  readonly #ports = new Map<string, BulkPort>()
  readonly #jobs = new Map<string, AbortController>()

  constructor(private readonly options: MateOptions) {}

  /** A proven device's channel stands. */
  connect(device: string, channel: BulkChannel): void {
    const { shards, clock } = this.options
    this.disconnect(device)
    // Nothing but the open model's shards is given away.
    const read = (sha256: string): Promise<Blob | undefined> =>
      this.options.bytesOf(sha256) === undefined
        ? Promise.resolve(undefined)
        : shards.get(sha256)
    this.#ports.set(device, new BulkPort(channel, { clock, read }))
  }

  disconnect(device: string): void {
    this.#ports.get(device)?.close()
    this.#ports.delete(device)
  }

  close(): void {
    for (const device of [...this.#ports.keys()]) this.disconnect(device)
  }

  /** How fast a device gave its newest large shard, bytes per ms; null before. */
  bytesPerMs(device: string): number | null {
    return this.#ports.get(device)?.bytesPerMs ?? null
  }

  /** As `ShardsApi.fetch`; what mates gave counts as fetched. */
  async fetch(
    job: Parameters<Fetch>[0],
    onProgress: Parameters<Fetch>[1],
  ): ReturnType<Fetch> {
    const { shards, clock } = this.options
    const stop = new AbortController()
    this.#jobs.get(job.id)?.abort()
    this.#jobs.set(job.id, stop)
    const tally = new Tally(onProgress, () => clock.now())
    const mates = new AbortController()
    const abort = (): void => mates.abort()
    stop.signal.addEventListener('abort', abort)
    const helping: Promise<void>[] = []
    const help = (): void => {
      // From the other end, so that both rarely fetch the same. It may be out of reach.
      const rest = { ...job, id: helpOf(job.id), shards: job.shards.toReversed() }
      if (helping.length > 0) return
      helping.push(shards.fetch(rest, tally.origin()).then(abort, () => undefined))
    }
    try {
      await this.#askAround(job.shards, mates.signal, tally, help)
      shards.cancel(helpOf(job.id))
      await Promise.all(helping)
      stop.signal.throwIfAborted()
      await shards.fetch(job, tally.origin())
      return { fetchedBytes: tally.fetchedBytes }
    } finally {
      if (this.#jobs.get(job.id) === stop) this.#jobs.delete(job.id)
    }
  }

  cancel(id: string): void {
    this.#jobs.get(id)?.abort(new DOMException('The download was stopped.', 'AbortError'))
    this.options.shards.cancel(helpOf(id))
    this.options.shards.cancel(id)
  }

  /** @param help to be called where mates are slow; they go on meanwhile. */
  async #askAround(
    wanted: readonly string[],
    signal: AbortSignal,
    tally: Tally,
    help: () => void,
  ): Promise<void> {
    const { shards, clock, bytesOf, holders, isSlow } = this.options
    if (!wanted.some((sha256) => this.#ask(sha256).length > 0)) return
    const sum = (some: readonly string[]) =>
      some.reduce((bytes, sha256) => bytes + (bytesOf(sha256) ?? 0), 0)
    const here = await shards.has(wanted)
    const missing = wanted.filter((sha256) => !here.includes(sha256))
    tally.begin(sum(here), sum(wanted))
    if (
      missing.some(
        (sha256) => holders(sha256).length > 0 && holders(sha256).every(isSlow),
      )
    )
      help()
    let before = 0
    const cancel = every(clock, JUDGED_MS, () => {
      if (tally.gained - before < LEAST_BYTES_PER_MS * JUDGED_MS) help()
      before = tally.gained
    })
    for (const sha256 of missing) {
      if (signal.aborted) break
      // The origin may have brought it meanwhile.
      const [came] = await shards.has([sha256])
      if (came === undefined) await this.#askMates(sha256, signal, tally)
    }
    cancel()
  }

  async #askMates(sha256: string, signal: AbortSignal, tally: Tally): Promise<void> {
    const bytes = this.options.bytesOf(sha256)
    if (bytes === undefined) return
    for (const port of this.#ask(sha256)) {
      let came = 0
      const onBytes = (more: number): void => {
        came += more
        tally.mate(more)
      }
      const blob = await port.want(sha256, bytes, onBytes, signal)
      const kept = blob !== null && (await this.#keep(sha256, blob))
      tally.shard(kept ? 0 : came)
      if (kept || signal.aborted) return
    }
  }

  #ask(sha256: string): BulkPort[] {
    const { holders, rttMs, isSlow } = this.options
    const far = (device: string): number => rttMs(device) ?? Infinity
    return [...holders(sha256)]
      .sort((a, b) => Number(isSlow(a)) - Number(isSlow(b)) || far(a) - far(b))
      .flatMap((device) => {
        const port = this.#ports.get(device)
        return port?.free ? [port] : []
      })
  }

  /** False where the bytes were wrong or the disk is full: the origin's turn says which. */
  async #keep(sha256: string, blob: Blob): Promise<boolean> {
    try {
      await this.options.shards.put(sha256, blob)
      return true
    } catch {
      return false
    }
  }
}

function helpOf(job: string): string {
  return `${job}-help`
}

/** One progress of what mates give and the origin brings. */
class Tally {
  #done = 0
  #total = 0
  #gained = 0
  #fetched = 0
  #told = -Infinity

  constructor(
    private readonly onProgress: (progress: FetchProgress) => void,
    private readonly now: () => number,
  ) {}

  /** Bytes that mates gave, wrong ones included. */
  get gained(): number {
    return this.#gained
  }

  get fetchedBytes(): number {
    return this.#gained + this.#fetched
  }

  begin(done: number, total: number): void {
    this.#done = done
    this.#total = total
  }

  mate(bytes: number): void {
    this.#gained += bytes
    this.#done += bytes
    this.#tell(false)
  }

  /** A mate's shard ended, and so many of its bytes were of no use. */
  shard(lost: number): void {
    this.#done -= lost
    this.#tell(lost === 0)
  }

  /** For a fetch from the origin; it counts what is in the store when it begins. */
  origin(): (progress: FetchProgress) => void {
    let before = 0
    return ({ doneBytes, totalBytes, fetchedBytes }) => {
      this.#fetched += fetchedBytes - before
      before = fetchedBytes
      this.#done = Math.max(this.#done, doneBytes)
      this.#total = totalBytes
      this.#tell(true)
    }
  }

  #tell(always: boolean): void {
    const now = this.now()
    if (!always && now - this.#told < TELL_MS) return
    this.#told = now
    const doneBytes = Math.min(this.#done, this.#total)
    this.onProgress({
      doneBytes,
      totalBytes: this.#total,
      fetchedBytes: this.fetchedBytes,
    })
  }
}
