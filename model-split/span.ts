/** Which part of a model a stage runs, and what that part needs. Pure bookkeeping. */
import type { BorderTensor, Cache, Manifest } from './manifest.ts'

/** Consecutive layers `[from, to)`, with the embedding before and the head after if wanted. */
export interface Span {
  readonly from: number
  readonly to: number
  readonly embed: boolean
  readonly head: boolean
}

/** Half-open range of segments that a span covers. */
export function segmentsOf(manifest: Manifest, span: Span): [number, number] {
  const { layers } = manifest
  const { from, to, embed, head } = span
  const bad =
    !Number.isInteger(from) ||
    !Number.isInteger(to) ||
    from < 0 ||
    to > layers ||
    from > to
  if (bad || (embed && from !== 0) || (head && to !== layers))
    throw new Error(`Span ${from}-${to} does not fit a model of ${layers} layers.`)
  const range: [number, number] = [embed ? 0 : from + 1, head ? layers + 2 : to + 1]
  if (range[0] >= range[1]) throw new Error(`Span ${from}-${to} is empty.`)
  return range
}

/** Border tensors that the span reads from earlier stages, in manifest order. */
export function inputsOf(manifest: Manifest, span: Span): string[] {
  const [start, end] = segmentsOf(manifest, span)
  return names(manifest, (t) => t.from < start && t.to.some((c) => c >= start && c < end))
}

/** Border tensors that the span gives to later stages, in manifest order. */
export function outputsOf(manifest: Manifest, span: Span): string[] {
  const [start, end] = segmentsOf(manifest, span)
  return names(
    manifest,
    (t) => t.from >= start && t.from < end && t.to.some((c) => c >= end),
  )
}

function names(manifest: Manifest, wanted: (t: BorderTensor) => boolean): string[] {
  return Object.entries(manifest.tensors)
    .filter(([, t]) => wanted(t))
    .map(([name]) => name)
}

/** Ids of all pieces that the span is linked from, each once, in a fixed order. */
export function piecesOf(manifest: Manifest, span: Span): string[] {
  const [start, end] = segmentsOf(manifest, span)
  const found = new Set<string>()
  const add = (id: string): void => {
    if (found.has(id)) return
    const piece = manifest.pieces[id]
    if (!piece)
      throw new Error(`manifest.json names a graph piece "${id}" that it lacks.`)
    found.add(id)
    piece.needs.forEach(add)
  }
  manifest.segments.slice(start, end).forEach((segment, i, all) => {
    if (segment.entry)
      (i === 0 ? segment.entry.border : segment.entry.inside).forEach(add)
    segment.pieces.forEach(add)
    if (i === all.length - 1) segment.exit.forEach(add)
  })
  return [...found]
}

/** Ids of the weight blobs that the span loads, each once. */
export function blobsOf(manifest: Manifest, span: Span): string[] {
  return unique(
    piecesOf(manifest, span).flatMap((id) => manifest.pieces[id]?.blobs ?? []),
  )
}

/** Names of the integer inputs that the span is fed. */
export function feedsOf(manifest: Manifest, span: Span): string[] {
  return unique(
    piecesOf(manifest, span).flatMap((id) => manifest.pieces[id]?.feeds ?? []),
  )
}

/** Caches of the span's layers, in layer order. */
export function cachesOf(manifest: Manifest, span: Span): Cache[] {
  const [start, end] = segmentsOf(manifest, span)
  return manifest.segments.slice(start, end).flatMap((segment) => segment.caches)
}

/** Content addresses of the shards that the spans need together, each once. */
export function shardsOf(manifest: Manifest, spans: readonly Span[]): string[] {
  const blobs = unique(spans.flatMap((span) => blobsOf(manifest, span)))
  return unique(blobs.flatMap((id) => manifest.blobs[id]?.shards ?? []))
}

function unique<T>(items: readonly T[]): T[] {
  return [...new Set(items)]
}
