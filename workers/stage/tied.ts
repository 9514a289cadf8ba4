/**
 * A tied embedding is read by the embedding and by the head. A starter runs them apart, but in
 * one session that holds the weights once: whichever is not meant gets zero rows.
 */
import type { LinkedSpan } from '../../model-split/link/link.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import { blobsOf, feedsOf, type Span } from '../../model-split/span.ts'
import type { BackendSession, HeldTensors } from './backend.ts'
import { fillFeed } from './session-inputs.ts'
import { byteLength, dimsFor, type RunSize } from './tensors.ts'
import type { WeightMode } from './types.ts'

const NO_ROWS: RunSize = { batch: 1, rows: 0, past: 0 }
const ONE_ROW: RunSize = { batch: 1, rows: 1, past: 0 }

/** Embedding and head among parts, where both read a blob in the same form; else null. */
export function tiedEnds<Part extends { readonly span: Span }>(
  manifest: Manifest,
  parts: readonly Part[],
  mode: WeightMode,
): { readonly embed: Part; readonly head: Part } | null {
  const ends = parts.filter(({ span }) => span.from === span.to)
  const embed = ends.find(({ span }) => span.embed && !span.head)
  const head = ends.find(({ span }) => span.head && !span.embed)
  if (!embed || !head) return null
  const read = new Set(blobsOf(manifest, embed.span))
  // A lean session looks columns up where its head multiplies.
  const alike = (id: string) =>
    mode === 'lean' || manifest.blobs[id]?.forms[mode].every((form) => form === 'packed')
  const shared = blobsOf(manifest, head.span).some((id) => read.has(id) && alike(id))
  const fed = new Set(feedsOf(manifest, embed.span))
  const apart = feedsOf(manifest, head.span).every((name) => !fed.has(name))
  return shared && apart ? { embed, head } : null
}

/** The session of both ends, as two. It is released with the second of them. */
export class TiedSession<Kept, Held> {
  readonly embed: BackendSession<Kept, Held>
  readonly head: BackendSession<Kept, Held>
  readonly #session: BackendSession<Kept, Held>
  readonly #tensors: HeldTensors<Held>
  readonly #ends: { readonly embed: LinkedSpan; readonly head: LinkedSpan }
  #users = 2

  constructor(
    session: BackendSession<Kept, Held>,
    tensors: HeldTensors<Held>,
    embed: LinkedSpan,
    head: LinkedSpan,
  ) {
    this.#session = session
    this.#tensors = tensors
    this.#ends = { embed, head }
    this.embed = this.#half(embed, head)
    this.head = this.#half(head, embed)
  }

  /** @throws whatever the runtime says where it cannot run zero rows of either end. */
  async tryOut(): Promise<void> {
    for (const end of ['embed', 'head'] as const) {
      const inputs = this.#inputs(this.#ends[end], ONE_ROW)
      try {
        const outputs = await this[end].run({
          inputs,
          kept: [],
          size: ONE_ROW,
          batch: null,
        })
        this.#dispose(outputs)
      } finally {
        this.#dispose(inputs)
      }
    }
  }

  #half(own: LinkedSpan, other: LinkedSpan): BackendSession<Kept, Held> {
    let blanks: ReadonlyMap<string, Held> | null = null
    return {
      weights: this.#session.weights,
      run: async (request) => {
        blanks ??= this.#inputs(other, NO_ROWS)
        const inputs = new Map([...blanks, ...request.inputs])
        const outputs = [...(await this.#session.run({ ...request, inputs }))]
        this.#dispose(outputs.filter(([name]) => !(name in own.given)))
        return new Map(outputs.filter(([name]) => name in own.given))
      },
      release: async () => {
        this.#dispose(blanks ?? [])
        this.#users -= 1
        if (this.#users === 0) await this.#session.release()
      },
    }
  }

  /** All inputs of an end, zero. */
  #inputs({ feeds, inputs }: LinkedSpan, size: RunSize): Map<string, Held> {
    const all = new Map<string, Held>()
    const ids = Array.from({ length: size.rows }, () => 0)
    for (const [name, feed] of Object.entries(feeds))
      all.set(name, this.#tensors.upload(fillFeed(name, feed, size, ids)))
    for (const [name, { dtype, dims }] of Object.entries(inputs)) {
      const shape = dimsFor(dims, size)
      const bytes = new Uint8Array(byteLength(dtype, shape))
      all.set(name, this.#tensors.upload({ dtype, dims: shape, bytes }))
    }
    return all
  }

  #dispose(tensors: Iterable<readonly [string, Held]>): void {
    for (const [, tensor] of tensors) this.#tensors.dispose(tensor)
  }
}
