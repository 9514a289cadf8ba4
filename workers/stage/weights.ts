/** Turns shards into the weight buffers that a linked span names. */
import type { Manifest, WeightBlob } from '../../model-split/manifest.ts'
import { deriveDense, deriveLean } from './dequantise.ts'
import { StageError, type ShardReader, type WeightMode } from './types.ts'

/** One external data file that a graph names. */
export interface WeightRequest {
  readonly path: string
  readonly blob: string
  readonly form: WeightMode
}

/** A finished external data file. */
export interface WeightFile {
  readonly path: string
  readonly data: Uint8Array
}

/** Called between shards. */
export interface Watch {
  readonly signal?: AbortSignal | undefined
  /** Bytes of a shard that has just been read. */
  readonly onShard?: ((bytes: number) => void) | undefined
}

/**
 * Reads the named blobs, each once, and makes exactly the forms that are asked for. The packed
 * bytes live on only where they are asked for themselves.
 * @throws StageError `bad-model` where shards and manifest disagree, `aborted`.
 */
export async function assembleWeights(
  manifest: Manifest,
  requests: readonly WeightRequest[],
  reader: ShardReader,
  watch: Watch = {},
): Promise<WeightFile[]> {
  const files: WeightFile[] = []
  for (const id of new Set(requests.map((request) => request.blob))) {
    const blob = manifest.blobs[id]
    if (!blob) throw badModel(`it names weights "${id}" that its manifest lacks`)
    const packed = await packedBytes(manifest, blob, reader, watch)
    for (const { path, form } of requests.filter((request) => request.blob === id))
      files.push({ path, data: derive(blob, packed, form) })
  }
  return files
}

function derive(blob: WeightBlob, packed: Uint8Array, form: WeightMode): Uint8Array {
  if (form === 'packed') return packed
  return form === 'dense' ? deriveDense(blob, packed) : deriveLean(blob, packed)
}

async function packedBytes(
  manifest: Manifest,
  blob: WeightBlob,
  reader: ShardReader,
  { signal, onShard }: Watch,
): Promise<Uint8Array> {
  const total = blob.shards.reduce(
    (sum, sha) => sum + (manifest.shards[sha]?.bytes ?? NaN),
    0,
  )
  if (total !== blob.bytes) throw badModel('the sizes of its weight files do not add up')
  let whole: Uint8Array | null = null
  let at = 0
  for (const sha of blob.shards) {
    if (signal?.aborted) throw new StageError('aborted', 'Loading the model was stopped.')
    const bytes = await reader.shard(sha)
    if (bytes.byteLength !== manifest.shards[sha]?.bytes)
      throw badModel(`weight file ${sha.slice(0, 8)} has the wrong size`)
    onShard?.(bytes.byteLength)
    if (blob.shards.length === 1) return bytes
    whole ??= new Uint8Array(blob.bytes)
    whole.set(bytes, at)
    at += bytes.byteLength
  }
  return whole ?? new Uint8Array(0)
}

function badModel(what: string): StageError {
  return new StageError(
    'bad-model',
    `The model cannot be loaded: ${what}. Remove it and download it again.`,
  )
}
