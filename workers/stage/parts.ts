/** Sessions of the parts of a model; the layouts of an engine share them. */
import { link, type LinkedSpan } from '../../model-split/link/link.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import type { Span } from '../../model-split/span.ts'
import type {
  Backend,
  BackendSession,
  HeldTensor,
  LayerCaches,
  SharedTables,
} from './backend.ts'
import { Counted } from './counted.ts'
import { cover } from './divide.ts'
import { externalBytes, sumOf } from './onnx-fields.ts'
import { liftTables, sharedBlobs } from './tables.ts'
import { rowAxis } from './tensors.ts'
import { tiedEnds, TiedSession } from './tied.ts'
import {
  StageError,
  type LoadOptions,
  type TensorData,
  type WeightMode,
} from './types.ts'
import { assembleWeights, type Watch, type WeightFile } from './weights.ts'

export interface Part<Kept, Held> {
  readonly key: string
  readonly span: Span
  readonly linked: LinkedSpan
  readonly session: BackendSession<Kept, Held>
  /** With caches, in order. */
  readonly layers: readonly number[]
  /** Rows do not depend on each other here: the last one is enough. */
  readonly lastRowOnly: boolean
  /** Bytes of weights, without tables. */
  readonly weights: number
  /** Blobs of the tables that it reads. */
  readonly tables: readonly string[]
}

interface Tables {
  readonly shared: SharedTables
  readonly bytes: number
}

/** A part before its weights are read. */
interface Draft extends Wanted {
  readonly linked: LinkedSpan
  readonly tables: readonly string[]
}

interface Wanted {
  readonly key: string
  readonly span: Span
}

export class PartStore<Kept extends LayerCaches, Held extends HeldTensor> {
  readonly #backend: Backend<Kept, Held>
  readonly #tables = new Counted<Tables>(({ shared }) => {
    shared.release()
    return Promise.resolve()
  })
  readonly #parts = new Counted<Part<Kept, Held>>(async ({ session, tables }) => {
    await session.release().catch(() => undefined)
    for (const blob of tables) await this.#tables.release(blob)
  })

  constructor(backend: Backend<Kept, Held>) {
    this.#backend = backend
  }

  /** Bytes held. */
  get weights(): number {
    const parts = sumOf(this.#parts.values.map(({ weights }) => weights))
    return parts + sumOf(this.#tables.values.map(({ bytes }) => bytes))
  }

  /** Parts of each span, in order. Where it throws, nothing stays. */
  async load(options: LoadOptions, signal: AbortSignal): Promise<Part<Kept, Held>[][]> {
    const { manifest, reader, mode, onProgress } = options
    const graph = await reader.file(manifest.graph.file)
    const shared = this.#backend.share ? sharedBlobs(manifest) : new Set<string>()
    const open = this.#parts.values.map(({ span }) => span)
    const wanted = options.spans.map((span) =>
      cover(span, open, (gap) => this.#backend.divide(manifest, gap, mode)).map(wantedOf),
    )
    const draftOf = (part: Wanted) => draft(manifest, graph, part, mode, shared)
    // What is there is not linked again: that takes a while for a whole span.
    const missing = wanted
      .flat()
      .flatMap((part) => (this.#parts.has(part.key) ? [] : [draftOf(part)]))
    const ends = this.#backend.kind === 'wasm' ? tiedEnds(manifest, missing, mode) : null
    const both = ends && link(manifest, graph, [ends.embed.span, ends.head.span], mode)
    const progress = new Progress(manifest, this.#tables.keys, onProgress)
    const apart = missing.filter((one) => one !== ends?.embed && one !== ends?.head)
    progress.expect(apart)
    if (both) progress.expect([{ linked: both, tables: [] }])
    const watch: Watch = { signal, onShard: (bytes) => progress.add(bytes) }

    const acquired: string[] = []
    const acquire = async (
      one: Wanted,
      make: () => Promise<Part<Kept, Held>>,
    ): Promise<Part<Kept, Held>> => {
      const part = await this.#parts.acquire(one.key, make)
      acquired.push(one.key)
      if (signal.aborted)
        throw new StageError('aborted', 'Loading the model was stopped.')
      return part
    }
    try {
      if (ends && both) {
        const tied = await this.#openTied(options, both, ends, watch)
        // They are read once more, each for itself.
        if (!tied) progress.expect([ends.embed, ends.head])
        else {
          const acquireEnd = (end: 'embed' | 'head', weights: number) => {
            const one = ends[end]
            const part = asPart(manifest, one, tied[end], weights, [])
            acquired.push(one.key)
            return this.#parts.acquire(one.key, () => Promise.resolve(part))
          }
          await acquireEnd('embed', tied.embed.weights)
          await acquireEnd('head', 0)
        }
      }
      const early = new Set(acquired)
      const loaded: Part<Kept, Held>[][] = []
      for (const list of wanted) {
        const parts: Part<Kept, Held>[] = []
        for (const one of list) {
          const drafted = missing.find(({ key }) => key === one.key)
          // It may have been let go meanwhile.
          const make = () => this.#openPart(options, drafted ?? draftOf(one), watch)
          parts.push(await acquire(one, make))
        }
        loaded.push(parts)
      }
      // The ends were there before their turn.
      for (const key of early) await this.#parts.release(key)
      return loaded
    } catch (error) {
      for (const key of acquired) await this.#parts.release(key)
      throw error
    }
  }

  async release(parts: readonly Part<Kept, Held>[]): Promise<void> {
    for (const { key } of parts) await this.#parts.release(key)
  }

  async #openPart(
    options: LoadOptions,
    { linked, span, key, tables }: Draft,
    watch: Watch,
  ): Promise<Part<Kept, Held>> {
    const { manifest } = options
    const held: string[] = []
    try {
      const read: SharedTables[] = []
      for (const blob of tables) {
        const make = () => this.#openTables(options, blob, watch)
        read.push((await this.#tables.acquire(blob, make)).shared)
        held.push(blob)
      }
      const session = await this.#open(options, linked, read, watch)
      return asPart(
        manifest,
        { linked, span, key, tables },
        session,
        session.weights,
        tables,
      )
    } catch (error) {
      for (const blob of held) await this.#tables.release(blob)
      throw error
    }
  }

  async #openTables(
    { manifest, reader }: LoadOptions,
    blob: string,
    watch: Watch,
  ): Promise<Tables> {
    const request = { path: blob, blob, form: 'packed' } as const
    const [file] = await assembleWeights(manifest, [request], reader, watch)
    const weights = new Map<string, TensorData>()
    let bytes = 0
    for (const tensor of manifest.blobs[blob]?.tensors ?? []) {
      const { name, dtype, dims, offset } = tensor
      const part = file?.data.subarray(offset, offset + tensor.bytes)
      if (part) weights.set(name, { dtype, dims, bytes: part })
      bytes += tensor.bytes
    }
    const shared = this.#backend.share?.(weights)
    if (!shared) throw new StageError('internal', 'This engine shares no weights.')
    return { shared, bytes }
  }

  /** Null where the runtime cannot run one end with zero rows of the other. */
  async #openTied(
    options: LoadOptions,
    both: LinkedSpan,
    { embed, head }: { readonly embed: Draft; readonly head: Draft },
    watch: Watch,
  ): Promise<TiedSession<Kept, Held> | null> {
    const session = await this.#open(options, both, [], watch)
    const { tensors } = this.#backend
    const tied = new TiedSession(session, tensors, embed.linked, head.linked)
    try {
      await tied.tryOut()
      return tied
    } catch {
      await tied.embed.release()
      await tied.head.release()
      return null
    }
  }

  /** A function of its own, so that the weight buffers are free as soon as it returns. */
  async #open(
    { manifest, reader, mode }: LoadOptions,
    linked: LinkedSpan,
    tables: readonly SharedTables[],
    watch: Watch,
  ): Promise<BackendSession<Kept, Held>> {
    const named = externalBytes(linked.model)
    const requests = linked.externalData.filter(({ path }) => named.has(path))
    const weights: WeightFile[] = await assembleWeights(manifest, requests, reader, watch)
    return this.#backend.open(linked, weights, mode, tables)
  }
}

/** Bytes of shards that are read for parts which are not there yet; tables once. */
class Progress {
  readonly #manifest: Manifest
  readonly #tell: LoadOptions['onProgress']
  readonly #tables: Set<string>
  #loadedBytes = 0
  #totalBytes = 0

  /** @param held blobs of the tables that are there. */
  constructor(
    manifest: Manifest,
    held: readonly string[],
    tell: LoadOptions['onProgress'],
  ) {
    this.#manifest = manifest
    this.#tables = new Set(held)
    this.#tell = tell
  }

  expect(parts: readonly Pick<Draft, 'linked' | 'tables'>[]): void {
    for (const { linked, tables } of parts) {
      this.#totalBytes += bytesOf(this.#manifest, linked)
      for (const blob of tables) {
        if (!this.#tables.has(blob))
          this.#totalBytes += this.#manifest.blobs[blob]?.bytes ?? 0
        this.#tables.add(blob)
      }
    }
  }

  add(bytes: number): void {
    this.#loadedBytes += bytes
    this.#tell?.({ loadedBytes: this.#loadedBytes, totalBytes: this.#totalBytes })
  }
}

function wantedOf(span: Span): Wanted {
  const { from, to, embed, head } = span
  return { key: [from, to, embed, head].join(), span }
}

function draft(
  manifest: Manifest,
  graph: Uint8Array,
  { key, span }: Wanted,
  mode: WeightMode,
  shared: ReadonlySet<string>,
): Draft {
  const linked = link(manifest, graph, span, mode)
  const { model, blobs } = liftTables(manifest, linked, shared)
  const externalData = linked.externalData.filter(({ blob }) => !blobs.includes(blob))
  return { key, span, linked: { ...linked, model, externalData }, tables: blobs }
}

function asPart<Kept, Held>(
  manifest: Manifest,
  { key, span, linked }: Draft,
  session: BackendSession<Kept, Held>,
  weights: number,
  tables: readonly string[],
): Part<Kept, Held> {
  const all = Array.from({ length: span.to - span.from }, (_, i) => span.from + i)
  const layers = all.filter((at) => manifest.segments[at + 1]?.caches.length)
  const lastRowOnly = isRowwise(linked)
  return { key, span, linked, session, layers, lastRowOnly, weights, tables }
}

function isRowwise({ logits, caches, feeds, inputs }: LinkedSpan): boolean {
  return (
    logits !== null &&
    caches.length === 0 &&
    Object.keys(feeds).length === 0 &&
    Object.values(inputs).every(({ dims }) => rowAxis(dims) !== null)
  )
}

/** Bytes of the blobs that a part reads, as stored. */
function bytesOf(manifest: Manifest, { externalData }: LinkedSpan): number {
  const blobs = new Set(externalData.map(({ blob }) => blob))
  return sumOf([...blobs].map((id) => manifest.blobs[id]?.bytes ?? 0))
}
