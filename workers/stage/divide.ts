/** Divides spans into runtime sessions. */
import type { Manifest } from '../../model-split/manifest.ts'
import { blobsOf, type Span } from '../../model-split/span.ts'
import type { WeightMode } from './types.ts'

/** Duplicated weights that a head of its own may cost, as a part of the span's weights. */
const TOLERATED_COPY = 1 / 3

/** One session each: embedding, layers, head. Spans that overlap share most of them. */
export function layerByLayer({ from, to, embed, head }: Span): Span[] {
  const layers = Array.from({ length: to - from }, (_, i) => from + i)
  return [
    ...(embed ? [{ from: 0, to: 0, embed: true, head: false }] : []),
    ...layers.map((at) => ({ from: at, to: at + 1, embed: false, head: false })),
    ...(head ? [{ from: to, to, embed: false, head: true }] : []),
  ]
}

/** What of these spans is in none of the others, in as long runs as there are. */
export function without(spans: readonly Span[], others: readonly Span[]): Span[] {
  const keyOf = ({ from, embed, head }: Span): string => [from, embed, head].join()
  const known = new Set(others.flatMap(layerByLayer).map(keyOf))
  const rest: Span[] = []
  for (const span of spans) {
    let goesOn = false
    for (const piece of layerByLayer(span)) {
      const isNew = !known.has(keyOf(piece))
      const last = isNew && goesOn ? rest.pop() : null
      const { to, head } = piece
      if (isNew) rest.push(last ? { ...last, to, head } : piece)
      goesOn = isNew
    }
  }
  return rest
}

/**
 * Few sessions. The head stands alone where the tied embedding allows it: it then computes the
 * last row only.
 * @param sessionBytes weights per session, roughly; one layer may have more.
 */
export function runsOfLayers(
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

/**
 * Covers a span with sessions that are open already, the longest first, and with new ones in
 * between.
 * @param open spans of sessions.
 */
export function cover(
  span: Span,
  open: readonly Span[],
  divide: (gap: Span) => readonly Span[],
): Span[] {
  const inside = open.filter(
    ({ from, to, embed, head }) =>
      from >= span.from &&
      to <= span.to &&
      (!embed || span.embed) &&
      (!head || span.head) &&
      (from < to || embed || head),
  )
  const [longest] = inside.toSorted((a, b) => lengthOf(b) - lengthOf(a))
  if (!longest) return [...divide(span)]
  const before: Span = { ...span, to: longest.from, head: false }
  const after: Span = { ...span, from: longest.to, embed: false }
  const rest = [
    longest.embed || isEmpty(before) ? [] : cover(before, inside, divide),
    longest.head || isEmpty(after) ? [] : cover(after, inside, divide),
  ] as const
  return [...rest[0], longest, ...rest[1]]
}

function lengthOf({ from, to, embed, head }: Span): number {
  return to - from + Number(embed) + Number(head)
}

function isEmpty(span: Span): boolean {
  return lengthOf(span) === 0
}
