/** Shapes of the caches in terms of batch and past rows, and which axis grows. */
import type { Affine, Cache } from '../manifest.ts'
import type { ModelConfig } from '../onnx/config.ts'
import { ModelError } from '../onnx/error.ts'
import type { OnnxGraph } from '../onnx/types.ts'
import type { CachePair, Roles } from './roles.ts'

/**
 * First reading of a cache's declared shape; what it leaves open (symbolic head counts and
 * sizes) comes from the config, and the run that measures the model has the last word.
 */
export function describeCache(pair: CachePair, config: ModelConfig): Cache {
  const { input, output } = pair
  const declared = input.dims ?? ['batch', null, 'past', null]
  const rank = declared.length
  const axis = growingAxis(declared)
  const dims = declared.map((dim, i): Affine => {
    if (typeof dim === 'number' && dim > 0) return [dim, 0, 0, 0]
    if (i === axis) return [0, 0, 0, 1]
    if (isBatch(declared, i)) {
      const heads = rank === 3 && /head/i.test(String(dim)) ? (config.kvHeads[0] ?? 1) : 1
      return [0, heads, 0, 0]
    }
    const size =
      i === rank - 1 || rank === 3 ? config.headDim : (config.kvHeads[0] ?? null)
    if (size === null)
      throw new ModelError(
        `The cache ${input.name} has an axis of unknown size (${String(dim)}) and config.json does not tell the heads; add num_key_value_heads and head_dim to it.`,
      )
    return [size, 0, 0, 0]
  })
  return { input: input.name, output, dtype: input.dtype ?? 'float32', dims, axis }
}

type Dims = readonly (number | string | null)[]

function growingAxis(dims: Dims): number | null {
  const open = dims.flatMap((dim, i) => (typeof dim === 'number' ? [] : [i]))
  const named = open.find(
    (i) => /past|seq|len|ctx|kv_dim/i.test(String(dims[i])) && !isBatch(dims, i),
  )
  if (named !== undefined) return named
  const rest = open.filter((i) => !isBatch(dims, i))
  if (rest.length === 0) return null
  return rest.find((i) => i === dims.length - 2) ?? rest[0] ?? null
}

/** The batch is the first open axis, or the one that says so. */
function isBatch(dims: Dims, i: number): boolean {
  const named = dims.findIndex((dim) => typeof dim === 'string' && /batch/i.test(dim))
  return named === -1 ? i === 0 && typeof dims[0] !== 'number' : i === named
}

/** @throws ModelError when config.json describes another model than the graph. */
export function checkConfig(
  config: ModelConfig,
  { caches: pairs, layers, logits }: Roles,
  graph: OnnxGraph,
): void {
  const shared = Number(config.raw['num_kv_shared_layers'] ?? 0) || 0
  if (
    config.layers !== null &&
    config.layers !== layers &&
    config.layers - shared !== layers
  )
    throw new ModelError(
      `config.json says ${config.layers} layers, but the graph has caches for ${layers}; use the config that belongs to this file.`,
    )
  // More logits than tokens are padding; fewer leave tokens without an answer.
  const width = graph.outputs.find(({ name }) => name === logits)?.dims?.at(-1)
  if (
    typeof width === 'number' &&
    config.vocabulary !== null &&
    config.vocabulary > width
  )
    throw new ModelError(
      `config.json says a vocabulary of ${config.vocabulary} tokens, but the graph has logits for ${width}; use the config that belongs to this file.`,
    )
  for (const { input } of pairs) {
    const heads = input.dims?.length === 4 ? input.dims[1] : null
    if (!/key|value/i.test(input.name) || typeof heads !== 'number') continue
    if (config.kvHeads.length > 0 && !config.kvHeads.includes(heads))
      throw new ModelError(
        `config.json says ${config.kvHeads.join(' or ')} key/value heads, but the cache ${input.name} has ${heads}; use the config that belongs to this file.`,
      )
  }
}
