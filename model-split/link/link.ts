/** Links a span into one ONNX model by concatenating bytes: no protobuf library needed. */
import type { Affine, Cache, Dtype, Feed, Manifest, WeightForm } from '../manifest.ts'
import { cachesOf, feedsOf, inputsOf, outputsOf, piecesOf, type Span } from '../span.ts'
import { externalPath } from './paths.ts'
import { concat, graphField, modelProto, valueInfoProto } from './wire.ts'

export interface LinkedSpan {
  /** A serialized ModelProto without weights. */
  readonly model: Uint8Array
  /** External data the model names; `path` is what the graph calls it. */
  readonly externalData: readonly {
    readonly path: string
    readonly blob: string
    readonly form: WeightForm
  }[]
  readonly feeds: Readonly<Record<string, Feed>>
  readonly caches: readonly Cache[]
  /** Border tensors read and given, with shapes in B, S and P. */
  readonly inputs: Readonly<
    Record<string, { readonly dtype: Dtype; readonly dims: readonly Affine[] }>
  >
  readonly outputs: readonly string[]
  /** Name of the logits output where the span has the head. */
  readonly logits: string | null
  /** Element types of all that is given, border tensors and logits, by name. */
  readonly given: Readonly<Record<string, Dtype>>
}

/** Graph fields added to a span, to look inside it (used to measure a cut). */
export interface Extra {
  readonly fields: readonly Uint8Array[]
  readonly outputs: readonly { readonly name: string; readonly dtype: Dtype }[]
}

/**
 * @param graph the bytes of graph.bin.
 * @param span one span; or several that do not follow one another, in one graph that holds
 *   what they share once and reads the inputs of all of them.
 * @param mode which form quantised weights take.
 */
export function link(
  manifest: Manifest,
  graph: Uint8Array,
  span: Span | readonly Span[],
  mode: WeightForm,
  extra: Extra = { fields: [], outputs: [] },
): LinkedSpan {
  const fields: Uint8Array[] = []
  const blobs = new Set<string>()
  const cut = ([offset, length]: readonly [number, number]): Uint8Array => {
    if (offset + length > graph.byteLength)
      throw new Error(
        'graph.bin is shorter than its manifest says; download the model again.',
      )
    return graph.subarray(offset, offset + length)
  }
  const spans = 'from' in span ? [span] : span
  const each = <T>(list: (manifest: Manifest, span: Span) => T[]): T[] => [
    ...new Set(spans.flatMap((one) => list(manifest, one))),
  ]
  for (const id of each(piecesOf)) {
    const piece = manifest.pieces[id]
    if (!piece) continue
    fields.push(cut(piece.at))
    if (piece.variants) fields.push(cut(piece.variants[mode]))
    piece.blobs.forEach((blob) => blobs.add(blob))
  }
  const inputs: Record<string, { dtype: Dtype; dims: readonly Affine[] }> = {}
  for (const name of each(inputsOf)) {
    const tensor = manifest.tensors[name]
    if (tensor) inputs[name] = tensor
  }
  const feeds: Record<string, Feed> = {}
  for (const name of each(feedsOf)) {
    const feed = manifest.feeds[name]
    if (!feed)
      throw new Error(`manifest.json names an input "${name}" that it does not describe.`)
    feeds[name] = feed
  }
  const caches = each(cachesOf)
  const outputs = each(outputsOf)
  const logits = spans.some(({ head }) => head) ? manifest.logits.name : null
  const input = (
    name: string,
    { dtype, dims }: { dtype: Dtype; dims: readonly Affine[] },
  ): void => {
    // Several spans run with rows of their own: one name would mean one length.
    const scope = spans.length > 1 ? `${name}:` : ''
    const axes = dims.map((dim) => symbol(dim, scope))
    fields.push(graphField('input', valueInfoProto(name, dtype, axes)))
  }
  const output = (name: string, dtype: Dtype): void => {
    // Without a shape: the runtime infers it.
    fields.push(graphField('output', valueInfoProto(name, dtype, null)))
  }
  Object.entries(inputs).forEach(([name, tensor]) => input(name, tensor))
  Object.entries(feeds).forEach(([name, feed]) => input(name, feed))
  caches.forEach((cache) => input(cache.input, cache))
  const given: Record<string, Dtype> = {}
  for (const name of outputs) {
    const tensor = manifest.tensors[name]
    if (tensor) given[name] = tensor.dtype
  }
  if (logits !== null) given[logits] = manifest.logits.dtype
  Object.entries(given).forEach(([name, dtype]) => output(name, dtype))
  caches.forEach((cache) => output(cache.output, cache.dtype))
  extra.outputs.forEach(({ name, dtype }) => output(name, dtype))
  const externalData = [...blobs].flatMap((blob) =>
    (manifest.blobs[blob]?.forms[mode] ?? []).map((form) => ({
      path: externalPath(blob, form),
      blob,
      form,
    })),
  )
  const model = modelProto(cut(manifest.header), concat([...fields, ...extra.fields]))
  return { model, externalData, feeds, caches, inputs, outputs, logits, given }
}

/** A fixed axis as a number, one that changes from run to run by name. */
function symbol([constant, batch, rows, past]: Affine, scope: string): number | string {
  if (batch === 0 && rows === 0 && past === 0) return constant
  return `${scope}${constant}+${batch}B+${rows}S+${past}P`
}

/** @deprecated use WeightForm */
export type LinkMode = WeightForm
