/**
 * Tables that the sessions of many layers look up, such as rotary cosines: a session can read
 * them as inputs, so that all of them share one copy. Only what is looked up row by row, as the
 * runtime folds and repacks other weights while it loads them.
 */
import {
  valueInfoProto,
  bytesField,
  concat,
  graphField,
} from '../../model-split/link/wire.ts'
import type { LinkedSpan } from '../../model-split/link/link.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import { blobsOf } from '../../model-split/span.ts'
import {
  allFields,
  fields,
  GRAPH,
  MODEL,
  NODE,
  nodesOf,
  readExternal,
  TENSOR,
  texts,
} from './onnx-fields.ts'
import { layerByLayer } from './divide.ts'

const LOOKUPS = new Set(['GroupQueryAttention', 'RotaryEmbedding', 'Gather', 'Slice'])

export interface LiftedModel {
  readonly model: Uint8Array
  /** Blobs that the model names as external data no longer: their tensors are inputs. */
  readonly blobs: readonly string[]
}

/** Blobs that more than one layer reads. */
export function sharedBlobs(manifest: Manifest): Set<string> {
  const seen = new Set<string>()
  const shared = new Set<string>()
  const { layers } = manifest
  for (const span of layerByLayer({ from: 0, to: layers, embed: false, head: false }))
    for (const id of blobsOf(manifest, span)) (seen.has(id) ? shared : seen).add(id)
  return shared
}

/** Makes inputs of the blobs whose tensors are all looked up. */
export function liftTables(
  manifest: Manifest,
  { model, externalData }: Pick<LinkedSpan, 'model' | 'externalData'>,
  shared: ReadonlySet<string>,
): LiftedModel {
  const [graph] = fields(model, MODEL.graph)
  const candidates = new Map(
    externalData
      .filter(({ blob }) => shared.has(blob) && !manifest.blobs[blob]?.quantised.length)
      .map(({ path, blob }) => [path, blob]),
  )
  if (!graph || candidates.size === 0) return { model, blobs: [] }
  const others = new Set<string>()
  for (const node of nodesOf(graph)) {
    if (LOOKUPS.has(texts(node, NODE.opType)[0] ?? '')) continue
    for (const name of texts(node, NODE.input)) others.add(name)
  }
  const declared = [...fields(graph, GRAPH.initializer)].map((tensor) => ({
    name: texts(tensor, TENSOR.name)[0] ?? '',
    location: readExternal(tensor)?.location ?? '',
  }))
  for (const { name, location } of declared)
    if (others.has(name)) candidates.delete(location)
  const lifted = new Set(
    declared.filter(({ location }) => candidates.has(location)).map(({ name }) => name),
  )
  const blobs = [...new Set(candidates.values())]
  const inputs = blobs
    .flatMap((blob) => manifest.blobs[blob]?.tensors ?? [])
    .filter(({ name }) => lifted.has(name))
    .map(({ name, dtype, dims }) =>
      graphField('input', valueInfoProto(name, dtype, dims)),
    )
  const kept = [...allFields(graph)].filter(
    ({ number, bytes }) =>
      number !== GRAPH.initializer || !lifted.has(texts(bytes, TENSOR.name)[0] ?? ''),
  )
  const body = concat([...kept.map(({ raw }) => raw), ...inputs])
  const header = [...allFields(model)].filter(({ number }) => number !== MODEL.graph)
  return {
    model: concat([...header.map(({ raw }) => raw), bytesField(MODEL.graph, body)]),
    blobs,
  }
}
