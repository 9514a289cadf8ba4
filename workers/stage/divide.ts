/** Divides a span into runtime sessions, so that its weights are never held twice at once. */
import type { Manifest } from '../../model-split/manifest.ts'
import { blobsOf, type Span } from '../../model-split/span.ts'
import type { WeightMode } from './types.ts'

/** Duplicated weights that a head of its own may cost, as a part of the span's weights. */
const TOLERATED_COPY = 1 / 3

/**
 * Spans of one session each, in order; together they are the span. The head stands alone where
 * the tied embedding allows it: it then computes the last row only.
 * @param sessionBytes weights per session, roughly; one layer may have more.
 */
export function divide(
  manifest: Manifest,
  span: Span,
  mode: WeightMode,
  sessionBytes: number,
): Span[] {
  const { from, to, embed, head } = span
  const cost = (blobs: readonly string[]) =>
    blobs.reduce((sum, id) => sum + (manifest.blobs[id]?.resident[mode] ?? 0), 0)
  const parts: Span[] = []
  if (from < to || embed) {
    let open: Span = { from, to: embed ? from : from + 1, embed, head: false }
    while (open.to < to) {
      const longer = { ...open, to: open.to + 1 }
      if (cost(blobsOf(manifest, longer)) <= sessionBytes) open = longer
      else {
        parts.push(open)
        open = { from: open.to, to: open.to + 1, embed: false, head: false }
      }
    }
    parts.push(open)
  }
  if (!head) return parts
  const last = parts.at(-1)
  const alone: Span = { from: to, to, embed: false, head: true }
  if (!last) return [alone]
  const rest = new Set(blobsOf(manifest, { ...span, head: false }))
  const copied = blobsOf(manifest, alone).filter(
    // In a derived form only the head reads it; the embedding looks up packed rows.
    (id) =>
      rest.has(id) && manifest.blobs[id]?.forms[mode].every((form) => form === 'packed'),
  )
  const separate = cost(copied) <= TOLERATED_COPY * cost(blobsOf(manifest, span))
  return separate ? [...parts, alone] : [...parts.slice(0, -1), { ...last, head: true }]
}
