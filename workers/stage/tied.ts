/**
 * A tied embedding is read by the embedding and by the head. A starter runs them apart, but in
 * one session that holds the weights once: whichever is not meant gets zero rows.
 */
import type { LinkedSpan } from '../../model-split/link/link.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import { blobsOf, feedsOf, type Span } from '../../model-split/span.ts'
import type { BackendSession } from './backend.ts'
import { fillFeed } from './session-inputs.ts'
import { byteLength, dimsFor, type RunSize } from './tensors.ts'
import type { TensorData, WeightMode } from './types.ts'

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
export class TiedSession<Kept> {
  #users = 2

  constructor(private readonly session: BackendSession<Kept>) {}

  get weights(): number {
    return this.session.weights
  }

  half(own: LinkedSpan, other: LinkedSpan): BackendSession<Kept> {
    const blanks = this.#inputs(other, NO_ROWS)
    return {
      weights: this.weights,
      run: async (request) => {
        const inputs = new Map([...blanks, ...request.inputs])
        const outputs = await this.session.run({ ...request, inputs })
        const wanted = [...own.outputs, ...(own.logits === null ? [] : [own.logits])]
        return new Map([...outputs].filter(([name]) => wanted.includes(name)))
      },
      release: async () => {
        this.#users -= 1
        if (this.#users === 0) await this.session.release()
      },
    }
  }

  /** @throws whatever the runtime says where it cannot run zero rows of either end. */
  async tryOut(embed: LinkedSpan, head: LinkedSpan): Promise<void> {
    for (const [own, other] of [
      [embed, head],
      [head, embed],
    ] as const) {
      const half = this.half(own, other)
      const inputs = this.#inputs(own, ONE_ROW)
      await half.run({ inputs, kept: [], size: ONE_ROW, batch: null })
    }
  }

  /** All inputs of an end, zero. */
  #inputs({ feeds, inputs }: LinkedSpan, size: RunSize): Map<string, TensorData> {
    const all = new Map<string, TensorData>()
    const ids = Array.from({ length: size.rows }, () => 0)
    for (const [name, feed] of Object.entries(feeds))
      all.set(name, fillFeed(name, feed, size, ids))
    for (const [name, { dtype, dims }] of Object.entries(inputs)) {
      const shape = dimsFor(dims, size)
      all.set(name, {
        dtype,
        dims: shape,
        bytes: new Uint8Array(byteLength(dtype, shape)),
      })
    }
    return all
  }
}
