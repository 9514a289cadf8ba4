/**
 * Tells the graph's inputs and outputs apart: token ids, masks, positions, caches, logits.
 * Layers are known by the index that a cache carries, never by an architecture's names.
 */
import type { Affine, Feed } from '../manifest.ts'
import { ModelError } from '../onnx/error.ts'
import type { OnnxGraph, ValueInfo } from '../onnx/types.ts'

const ONE: Affine = [1, 0, 0, 0]
const BATCH: Affine = [0, 1, 0, 0]
const ROWS: Affine = [0, 0, 1, 0]
const PAST: Affine = [0, 0, 0, 1]
const TOTAL: Affine = [0, 0, 1, 1]

export interface CachePair {
  readonly layer: number
  readonly input: ValueInfo
  readonly output: string
}

export interface Roles {
  /** Name of the token id input. */
  readonly ids: string
  readonly logits: string
  /** Integer inputs and how a stage fills them, the ids among them. */
  readonly feeds: ReadonlyMap<string, Feed>
  /** In layer order, and within a layer in the graph's order. */
  readonly caches: readonly CachePair[]
  readonly layers: number
}

/** @throws ModelError when the graph is not a decoder with a cache that can be fed. */
export function findRoles(graph: OnnxGraph): Roles {
  const feeds = new Map<string, Feed>()
  const unknown: ValueInfo[] = []
  for (const input of graph.inputs) {
    const feed = feedOf(input)
    if (feed) feeds.set(input.name, feed)
    else unknown.push(input)
  }
  const outputs = graph.outputs.map((output) => output.name)
  const looksCached = unknown.some((input) => layerIndex(input.name) !== null)
  if (!feeds.has('input_ids')) {
    if (graph.inputs.some((input) => input.name === 'inputs_embeds'))
      throw new ModelError(
        'The model takes inputs_embeds instead of input_ids; export the decoder with its embedding.',
      )
    throw new ModelError(
      'The model has no input called input_ids, so it is not a text decoder; export it as text generation with past key values.',
    )
  }
  if (!looksCached)
    throw new ModelError(
      outputs.includes('logits')
        ? 'The decoder has no cache inputs (past_key_values.*); export it with past key values (task text-generation-with-past).'
        : 'The model is not a decoder with a KV cache: it has no past_key_values inputs and no logits output.',
    )
  if (!outputs.includes('logits'))
    throw new ModelError(
      'The model has no output called logits, so it cannot choose tokens.',
    )
  const caches = pairCaches(unknown, outputs)
  return {
    ids: 'input_ids',
    logits: 'logits',
    feeds,
    caches,
    layers: countLayers(caches),
  }
}

/** Known integer inputs of exported decoders, by the names that exporters agree on. */
function feedOf(input: ValueInfo): Feed | null {
  const rank = input.dims?.length ?? null
  const integer = (fallback: Feed['dtype']): Feed['dtype'] => input.dtype ?? fallback
  const leading = (input.dims ?? [])
    .slice(0, -2)
    .map((dim): Affine => [Number(dim) || 1, 0, 0, 0])
  switch (input.name) {
    case 'input_ids':
      return { dtype: integer('int64'), dims: [BATCH, ROWS], fill: { kind: 'ids' } }
    case 'attention_mask':
      if (rank !== null && rank !== 2)
        throw new ModelError(
          `The input attention_mask has ${rank} axes; Choir feeds masks of [batch, length] only.`,
        )
      return { dtype: integer('int64'), dims: [BATCH, TOTAL], fill: { kind: 'ones' } }
    case 'position_ids':
      return {
        dtype: integer('int64'),
        dims: rank === 1 ? [ROWS] : [...leading, BATCH, ROWS],
        fill: { kind: 'positions' },
      }
    case 'cache_position':
      return { dtype: integer('int64'), dims: [ROWS], fill: { kind: 'positions' } }
    case 'seqlens_k':
      return {
        dtype: integer('int32'),
        dims: rank === 2 ? [BATCH, ONE] : [BATCH],
        fill: { kind: 'values', values: [[-1, 0, 1, 1]] },
      }
    case 'total_sequence_length':
      return scalar(input, 'int32', TOTAL)
    case 'past_sequence_length':
    case 'past_seq_len':
      return scalar(input, 'int32', PAST)
    case 'token_type_ids':
      return {
        dtype: integer('int64'),
        dims: [BATCH, ROWS],
        fill: { kind: 'values', values: [[0, 0, 0, 0]] },
      }
    case 'num_logits_to_keep':
    case 'logits_to_keep':
      return scalar(input, 'int64', ONE)
    default:
      return null
  }
}

function scalar(input: ValueInfo, fallback: Feed['dtype'], value: Affine): Feed {
  const dims = (input.dims ?? []).map((): Affine => ONE)
  return {
    dtype: input.dtype ?? fallback,
    dims,
    fill: { kind: 'values', values: [value] },
  }
}

const MARKS =
  /past_key_values|present_key_values|past|present|cache|kv|input|output|_in\b|_out\b/g

/** What is left of a cache's name once the words for "before" and "after" are gone. */
function cacheKey(name: string): string {
  return name
    .toLowerCase()
    .replace(MARKS, '')
    .replace(/[^a-z0-9]+/g, '.')
    .replace(/^\.+|\.+$/g, '')
}

/** A cache's key without its layer: "key", "value", "conv". */
function kindOf(key: string): string {
  return key.replace(/\d+/, '#')
}

function layerIndex(name: string): number | null {
  const match = /\d+/.exec(cacheKey(name))
  return match && /past|cache|state|kv|conv|ssm/i.test(name) ? Number(match[0]) : null
}

function pairCaches(
  inputs: readonly ValueInfo[],
  outputs: readonly string[],
): CachePair[] {
  const keys = new Set(inputs.map((input) => cacheKey(input.name)))
  const byKey = new Map<string, string>()
  for (const output of outputs) {
    if (output === 'logits') continue
    const key = cacheKey(output)
    const twin = byKey.get(key)
    if (twin !== undefined && keys.has(key))
      throw new ModelError(
        `The outputs ${twin} and ${output} both look like the cache "${key}".`,
      )
    byKey.set(key, output)
  }
  const pairs = inputs.map((input): CachePair => {
    const layer = layerIndex(input.name)
    if (layer === null)
      throw new ModelError(
        `The model has an input "${input.name}" that Choir does not know how to feed; export it as a plain text decoder.`,
      )
    const key = cacheKey(input.name)
    const output = byKey.get(key)
    if (output === undefined)
      throw new ModelError(
        `The cache input ${input.name} has no matching output (present…); export the model again with its cache outputs.`,
      )
    byKey.delete(key)
    return { layer, input, output }
  })
  // Other outputs (attentions, hidden states of every layer) are nobody's cache.
  const kinds = new Set([...keys].map(kindOf))
  const orphan = [...byKey].find(
    ([key, output]) => kinds.has(kindOf(key)) || /present/i.test(output),
  )
  if (orphan !== undefined)
    throw new ModelError(
      `The cache output ${orphan[1]} has no matching input (past…); export the model again with its cache inputs.`,
    )
  return pairs.sort((a, b) => a.layer - b.layer)
}

function countLayers(caches: readonly CachePair[]): number {
  const indices = [...new Set(caches.map((cache) => cache.layer))].sort((a, b) => a - b)
  const gap = indices.findIndex((layer, i) => layer !== i)
  if (gap !== -1)
    throw new ModelError(
      `The cache indices are ${indices.join(', ')}, not 0 to ${indices.length - 1}: layer ${gap} has no cache input.`,
    )
  return indices.length
}
