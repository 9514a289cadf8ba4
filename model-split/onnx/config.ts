/** What a model's JSON files say about it. */
import * as v from 'valibot'
import type { ModelSource } from '../source/source.ts'
import { ModelError } from './error.ts'

/** What config.json and generation_config.json say; the graph has the last word. */
export interface ModelConfig {
  readonly raw: Readonly<Record<string, unknown>>
  readonly modelType: string | null
  readonly layers: number | null
  readonly hidden: number | null
  /** Numbers of KV heads that the config makes plausible; empty where it says nothing. */
  readonly kvHeads: readonly number[]
  readonly headDim: number | null
  /** Longest context in tokens. */
  readonly context: number | null
  readonly vocabulary: number | null
  /** Token ids that end an answer. */
  readonly eos: readonly number[]
  readonly license: string | null
}

const object = v.record(v.string(), v.unknown())
type Json = v.InferOutput<typeof object>
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(1))
const tokenId = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const tokenIds = v.union([
  v.array(tokenId),
  v.pipe(
    tokenId,
    v.transform((id) => [id]),
  ),
])

// The same number under the names that different architectures give it.
const LAYERS = [
  'num_hidden_layers',
  'n_layer',
  'n_layers',
  'num_layers',
  'decoder_layers',
]
const HIDDEN = ['hidden_size', 'n_embd', 'd_model', 'dim']
const HEADS = ['num_attention_heads', 'n_head', 'n_heads', 'num_heads']
const KV_HEADS = [
  'num_key_value_heads',
  'num_kv_heads',
  'num_global_key_value_heads',
  'n_head_kv',
  'multi_query_group_num',
  'kv_n_heads',
]
/** One number for each layer. */
const KV_HEAD_LISTS = [
  'num_kv_heads',
  'num_key_value_heads',
  'num_key_value_heads_per_layer',
]
const CONTEXT = [
  'max_position_embeddings',
  'n_positions',
  'max_seq_len',
  'max_sequence_length',
  'seq_length',
  'n_ctx',
]

/** @throws ModelError where config.json is missing, or a file is not a JSON object */
export async function readConfig(source: ModelSource): Promise<ModelConfig> {
  const raw = await readObject(source, 'config.json')
  if (!raw)
    throw new ModelError(
      `${source.name} has no config.json; give the folder of an exported model.`,
    )
  const generation = await readObject(source, 'generation_config.json')
  const nested = v.safeParse(object, raw['text_config'])
  const config = nested.success ? { ...raw, ...nested.output } : raw
  const hidden = first(config, HIDDEN)
  const heads = first(config, HEADS)
  const type = nested.success
    ? (nested.output['model_type'] ?? raw['model_type'])
    : raw['model_type']
  return {
    raw,
    modelType: text(type),
    layers: first(config, LAYERS),
    hidden,
    kvHeads: kvHeads(config, heads),
    headDim: first(config, ['head_dim', 'd_kv']) ?? quotient(hidden, heads),
    context: first(config, CONTEXT),
    vocabulary: first(config, ['vocab_size', 'n_vocab']),
    eos: eos(generation) ?? eos(config) ?? [],
    license: text(raw['license']) ?? (await licenseOf(source)),
  }
}

async function readObject(source: ModelSource, path: string): Promise<Json | null> {
  const content = await source.text(path)
  if (content === null) return null
  let json: unknown
  try {
    json = JSON.parse(content)
  } catch {
    throw new ModelError(
      `${path} is not JSON (it may be cut off); download or export the model again.`,
    )
  }
  const result = v.safeParse(object, json)
  if (result.success && !Array.isArray(json)) return result.output
  throw new ModelError(
    `${path} is not a JSON object; download or export the model again.`,
  )
}

function first(config: Json, keys: readonly string[]): number | null {
  for (const key of keys) {
    const value = v.safeParse(count, config[key])
    if (value.success) return value.output
  }
  return null
}

function kvHeads(config: Json, heads: number | null): number[] {
  const found = KV_HEADS.map((key) => first(config, [key])).filter((n) => n !== null)
  for (const key of KV_HEAD_LISTS) {
    const list = v.safeParse(v.array(count), config[key])
    if (list.success) found.push(...list.output)
  }
  const attention = v.safeParse(object, config['attn_config'])
  if (attention.success) found.push(...kvHeads(attention.output, null))
  // A multi-query model may still list as many KV heads as it has queries.
  if (config['multi_query'] === true) found.push(1)
  if (found.length === 0 && heads !== null) found.push(heads)
  return [...new Set(found)]
}

function quotient(hidden: number | null, heads: number | null): number | null {
  if (hidden === null || heads === null || hidden % heads !== 0) return null
  return hidden / heads
}

function eos(config: Json | null): number[] | null {
  const ids = v.safeParse(tokenIds, config?.['eos_token_id'])
  return ids.success ? ids.output : null
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null
}

/** The license that the model card's front matter names. */
async function licenseOf(source: ModelSource): Promise<string | null> {
  const card = await source.text('README.md')
  const matter = card && /^---\r?\n([\s\S]*?)\r?\n---/.exec(card)?.[1]
  const license = matter && /^license:[ \t]*['"]?([^'"\r\n]+)/m.exec(matter)?.[1]
  return license ? license.trim() : null
}
