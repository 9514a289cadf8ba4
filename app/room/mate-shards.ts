/** Where shards come from: the own store, then a room mate that holds them, then the origin. */
import type { Manifest } from '../../model-split/manifest.ts'
import { shardsOf } from '../../model-split/span.ts'
import { spansOf, type RingPlan } from '../../workers/ring/types.ts'
import type { ShardsApi } from '../../workers/shards/types.ts'
import { BulkPort, type BulkChannel } from './bulk-port.ts'
import type { Clock } from './clock.ts'
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
}

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
    const { shards } = this.options
    const stop = new AbortController()
    this.#jobs.get(job.id)?.abort()
    this.#jobs.set(job.id, stop)
    try {
      const gained = await this.#askAround(job.shards, stop.signal, onProgress)
      stop.signal.throwIfAborted()
      const { fetchedBytes } = await shards.fetch(job, (progress) =>
        onProgress({ ...progress, fetchedBytes: progress.fetchedBytes + gained }),
      )
      return { fetchedBytes: fetchedBytes + gained }
    } finally {
      if (this.#jobs.get(job.id) === stop) this.#jobs.delete(job.id)
    }
  }

  cancel(id: string): void {
    this.#jobs.get(id)?.abort(new DOMException('The download was stopped.', 'AbortError'))
    this.options.shards.cancel(id)
  }

  /** @returns bytes that mates gave. */
  async #askAround(
    wanted: readonly string[],
    signal: AbortSignal,
    onProgress: Parameters<Fetch>[1],
  ): Promise<number> {
    const { shards, bytesOf } = this.options
    if (!wanted.some((sha256) => this.#ask(sha256).length > 0)) return 0
    const here = new Set(await shards.has(wanted))
    const total = wanted.reduce((sum, sha256) => sum + (bytesOf(sha256) ?? 0), 0)
    let done = [...here].reduce((sum, sha256) => sum + (bytesOf(sha256) ?? 0), 0)
    let gained = 0
    for (const sha256 of wanted) {
      const bytes = bytesOf(sha256)
      if (here.has(sha256) || bytes === undefined) continue
      for (const port of this.#ask(sha256)) {
        let came = 0
        const blob = await port.want(
          sha256,
          bytes,
          (more) => {
            came += more
            const doneBytes = done + came
            onProgress({ doneBytes, totalBytes: total, fetchedBytes: gained + came })
          },
          signal,
        )
        if (signal.aborted) return gained
        gained += came
        if (blob && (await this.#keep(sha256, blob))) {
          done += bytes
          break
        }
      }
    }
    return gained
  }

  #ask(sha256: string): BulkPort[] {
    const { holders, rttMs } = this.options
    const far = (device: string): number => rttMs(device) ?? Infinity
    return [...holders(sha256)]
      .sort((a, b) => far(a) - far(b))
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
