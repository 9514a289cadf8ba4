/** Workers that keep the contracts and do no work. */
import type { Manifest } from '../../../model-split/manifest.ts'
import type { StepTimes } from '../../../model-split/plan/batch-size.ts'
import type { AnswerEvent, Ask, Epoch, RingPlan } from '../../../workers/ring/types.ts'
import type { FetchProgress } from '../../../workers/shards/types.ts'
import type { PrepareReport, StageApi, StageStats } from '../../../workers/stage/api.ts'
import type { LoadProgress } from '../../../workers/stage/types.ts'
import type { ChatMessage } from '../../../workers/text/types.ts'
import type { Clock } from '../clock.ts'
import type { RoomShards, RoomText } from '../workers.ts'

export const LAYER_BYTES = 1000
export const STARTER_BYTES = 500

/** A model of `layers` equal layers; enough of a manifest for planning and fetching. */
export function fakeManifest(layers: number): Manifest {
  const address = (k: number): string => k.toString(16).padStart(64, '0')
  const names = ['embed', ...Array.from({ length: layers }, (_, k) => `l${k}`), 'head']
  const bytes = (k: number): number =>
    k === 0 || k === layers + 1 ? STARTER_BYTES : LAYER_BYTES
  const byName = <T>(make: (k: number) => T): Record<string, T> =>
    Object.fromEntries(names.map((name, k) => [name, make(k)]))
  return {
    format: 'choir-cut',
    version: 1,
    model: { name: 'fake', variant: '', architecture: null, license: null },
    layers,
    hidden: 8,
    vocabulary: 32,
    context: 128,
    eos: [0],
    logits: { name: 'logits', dtype: 'float32', rows: 'last' },
    header: [0, 0],
    graph: { file: 'graph.bin', bytes: 1, sha256: address(9000) },
    golden: {
      file: 'golden.bin',
      bytes: 1,
      sha256: address(9001),
      ids: [1],
      logits: [0, 0],
    },
    pieces: byName((k) => ({
      at: [0, 0],
      needs: [],
      feeds: [],
      blobs: [names[k] ?? ''],
    })),
    feeds: {},
    segments: names.map((name) => ({
      name,
      pieces: [name],
      exit: [],
      caches: [],
      flops: 1,
    })),
    tensors: {},
    dependencies: { sequential: [], residual: [] },
    blobs: byName((k) => ({
      bytes: bytes(k),
      shards: [address(k)],
      tensors: [],
      quantised: [],
      denseBytes: bytes(k),
      leanBytes: bytes(k),
    })),
    shards: Object.fromEntries(names.map((_, k) => [address(k), { bytes: bytes(k) }])),
    files: [{ file: 'tokenizer.json', bytes: 1, sha256: address(9002) }],
  } as unknown as Manifest
}

/** Answers each question with `reply` tokens, one each 20 ms; counts what it was told. */
export class FakeStage implements StageApi {
  memoryBudget: number | null = null
  readonly prepared: RingPlan[] = []
  readonly activated: Epoch[] = []
  /** What was last to be held beside the span. */
  held: readonly number[] | null = null
  readonly connected = new Map<string, RTCDataChannel | MessagePort>()
  readonly asks: Ask[] = []
  readonly forgotten: number[] = []
  /** What the next preparations end with. */
  failures: string[] = []
  /** Preparations take so long, ms. */
  prepareMs = 100
  /** Copies ahead of a plan take until this resolves. */
  copying: Promise<void> = Promise.resolve()
  /** Preparations never end. */
  stuck = false
  msPerLayer = 2
  reply = 3
  closed = false
  stepTimes: StepTimes | null = null
  stats: ((stats: StageStats) => void) | null = null
  readonly #running = new Map<number, (reason: 'stopped') => void>()

  constructor(private readonly clock: Clock) {}

  open(): Promise<void> {
    return Promise.resolve()
  }

  setMemoryBudget(bytes: number): Promise<void> {
    this.memoryBudget = bytes
    return Promise.resolve()
  }

  setStepTimes(times: StepTimes | null): Promise<void> {
    this.stepTimes = times
    return Promise.resolve()
  }

  async prepare(
    plan: RingPlan,
    onProgress: (progress: LoadProgress) => void,
  ): Promise<PrepareReport> {
    this.prepared.push(plan)
    onProgress({ loadedBytes: 1, totalBytes: 2 })
    if (this.stuck) await new Promise(() => undefined)
    await new Promise<void>((resolve) => this.clock.after(this.prepareMs, resolve))
    const failure = this.failures.shift()
    if (failure !== undefined) throw new Error(failure)
    return {
      engine: 'wasm',
      mode: 'packed',
      msPerLayer: this.msPerLayer,
      msStarter: 1,
      memory: { weights: 10, caches: 1 },
      fallback: null,
    }
  }

  copied(): Promise<void> {
    return this.copying
  }

  activate(epoch: Epoch): Promise<void> {
    this.activated.push(epoch)
    return Promise.resolve()
  }

  hold(layers: readonly number[]): Promise<void> {
    this.held = layers
    return Promise.resolve()
  }

  connect(device: string, link: RTCDataChannel | MessagePort): Promise<void> {
    this.connected.set(device, link)
    return Promise.resolve()
  }

  connectSpare(): Promise<void> {
    return Promise.resolve()
  }

  disconnect(device: string): Promise<void> {
    this.connected.delete(device)
    return Promise.resolve()
  }

  ask(ask: Ask, onEvent: (event: AnswerEvent) => void): Promise<void> {
    this.asks.push(ask)
    const { sequence } = ask
    let index = 0
    const end = (reason: 'eos' | 'stopped'): void => {
      this.#running.delete(sequence)
      const stats = {
        promptTokens: ask.ids.length,
        reusedTokens: 0,
        newTokens: index,
        laps: index - 1,
        prefillMs: 1,
        decodeMs: 1,
      }
      onEvent({ kind: 'end', sequence, reason, stats })
    }
    const turn = (): void => {
      if (!this.#running.has(sequence)) return
      if (index >= this.reply) {
        end('eos')
        return
      }
      onEvent({ kind: 'token', sequence, index, id: 100 + index })
      index += 1
      this.clock.after(20, turn)
    }
    this.#running.set(sequence, end)
    this.clock.after(20, turn)
    return Promise.resolve()
  }

  stop(sequence: number): Promise<void> {
    this.#running.get(sequence)?.('stopped')
    return Promise.resolve()
  }

  forget(sequence: number): Promise<void> {
    this.forgotten.push(sequence)
    return Promise.resolve()
  }

  onStats(listener: (stats: StageStats) => void): Promise<void> {
    this.stats = listener
    return Promise.resolve()
  }

  close(): Promise<void> {
    this.closed = true
    return Promise.resolve()
  }
}

export class FakeShards implements RoomShards {
  readonly fetched: string[][] = []
  readonly cancelled: string[] = []

  constructor(
    private readonly clock: Clock,
    private readonly manifest: Manifest,
  ) {}

  open(): Promise<Manifest> {
    return Promise.resolve(this.manifest)
  }

  async fetch(
    job: { readonly id: string; readonly shards: readonly string[] },
    onProgress: (progress: FetchProgress) => void,
  ): Promise<{ fetchedBytes: number }> {
    this.fetched.push([...job.shards])
    onProgress({ doneBytes: 0, totalBytes: 10, fetchedBytes: 0 })
    await new Promise<void>((resolve) => this.clock.after(30, resolve))
    onProgress({ doneBytes: 10, totalBytes: 10, fetchedBytes: 10 })
    return { fetchedBytes: 10 }
  }

  cancel(id: string): void {
    this.cancelled.push(id)
  }

  /** Shards of size and address as the manifest says; their bytes are not looked at. */
  readonly kept = new Map<string, Blob>()

  has(shards: readonly string[]): Promise<string[]> {
    return Promise.resolve(shards.filter((sha256) => this.kept.has(sha256)))
  }

  get(sha256: string): Promise<Blob | undefined> {
    return Promise.resolve(this.kept.get(sha256))
  }

  put(sha256: string, bytes: Parameters<RoomShards['put']>[1]): Promise<void> {
    if (!(bytes instanceof Blob)) return Promise.reject(new Error('Not a blob.'))
    this.kept.set(sha256, bytes)
    return Promise.resolve()
  }
}

/** One token for each letter of the conversation; token n is the word `w<n>`. */
export class FakeText implements RoomText {
  readonly encoded: ChatMessage[][] = []

  open(): Promise<{ template: 'model' }> {
    return Promise.resolve({ template: 'model' })
  }

  encode(messages: readonly ChatMessage[]): Promise<number[]> {
    this.encoded.push([...messages])
    const letters = messages.map(({ content }) => content).join('')
    return Promise.resolve(Array.from({ length: letters.length }, (_, i) => i))
  }

  push(_stream: number, ids: readonly number[]): Promise<string> {
    return Promise.resolve(ids.map((id) => `w${id} `).join(''))
  }

  finish(): Promise<string> {
    return Promise.resolve('.')
  }
}
