/**
 * What a cut model consists of. One `manifest.json` lies beside `graph.bin` (all graph
 * pieces), `golden.bin` (expected hidden states), `shards/<sha256>.bin` (weights) and the
 * copied text files (`config.json`, tokenizer, …).
 *
 * The model is a row of **segments**: 0 is the embedding, 1..n are the layers 0..n-1 and
 * n+1 is the head (final norm and logits). Documented for people in docs/manifest.md.
 */
import * as v from 'valibot'

export const MANIFEST_FORMAT = 'choir-cut'
export const MANIFEST_VERSION = 1
/** No weight file is larger than this, in bytes. */
export const MAX_SHARD_BYTES = 64 * 2 ** 20

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))
/** A file name inside the cut folder: no absolute path, no `..`, no URL. */
const fileName = v.pipe(
  v.string(),
  v.regex(/^(?!.*(^|\/)\.\.?(\/|$))[A-Za-z0-9_][A-Za-z0-9_.\-/]*$/),
)

/**
 * A number that depends on the run: `constant + batch*B + rows*S + past*P`, where B is the
 * batch, S the rows (tokens) of this run and P the rows already in the cache.
 */
const affine = v.strictTuple([v.number(), v.number(), v.number(), v.number()])
export type Affine = v.InferOutput<typeof affine>

/** Element types as onnxruntime-web names them. */
export const DTYPES = [
  'float32',
  'float16',
  'bfloat16',
  'float64',
  'int64',
  'int32',
  'int16',
  'int8',
  'uint64',
  'uint32',
  'uint16',
  'uint8',
  'bool',
  'int4',
  'uint4',
] as const
const dtype = v.picklist(DTYPES)
export type Dtype = v.InferOutput<typeof dtype>

/** `[offset, length]` in bytes. */
const range = v.strictTuple([count, count])

/** How a stage fills a graph input that is neither hidden state nor cache. */
const feed = v.strictObject({
  dtype,
  /** Shape of the input. */
  dims: v.array(affine),
  fill: v.variant('kind', [
    /** The token ids of this run, `[B, S]`. */
    v.strictObject({ kind: v.literal('ids') }),
    /** All ones (attention mask over past and new rows). */
    v.strictObject({ kind: v.literal('ones') }),
    /** P, P+1, …, P+S-1 along the last axis. */
    v.strictObject({ kind: v.literal('positions') }),
    /** Element by element; a shape vector that another stage's tensor would have had. */
    v.strictObject({ kind: v.literal('values'), values: v.array(affine) }),
  ]),
})
export type Feed = v.InferOutput<typeof feed>

/**
 * Serialized `GraphProto` fields (nodes, initialisers) that are concatenated into a span.
 * A piece with `variants` exists once per way of keeping quantised weights; exactly one of
 * them is linked: `packed` as exported, `dense` with fp32 weights, `lean` with int8.
 */
const piece = v.strictObject({
  /** Where the bytes lie in graph.bin. */
  at: range,
  variants: v.optional(v.strictObject({ packed: range, dense: range, lean: range })),
  /** Other pieces that this one reads from. */
  needs: v.array(v.string()),
  /** Keys of `feeds`. */
  feeds: v.array(v.string()),
  /** Keys of `blobs` whose tensors this piece declares. */
  blobs: v.array(v.string()),
})
export type Piece = v.InferOutput<typeof piece>

/** One cache (key, value, or a recurrent state) of a layer. */
const cache = v.strictObject({
  input: v.string(),
  output: v.string(),
  dtype,
  /** Shape of the input in terms of B and P. */
  dims: v.array(affine),
  /** The axis that grows by S each run, or null for a state of fixed size. */
  axis: v.nullable(count),
})
export type Cache = v.InferOutput<typeof cache>

const segment = v.strictObject({
  name: v.string(),
  pieces: v.array(v.string()),
  /**
   * Only where a fused node joins this segment with the one before: `inside` is linked when
   * both are in the span, `border` when the span starts here.
   */
  entry: v.optional(
    v.strictObject({ inside: v.array(v.string()), border: v.array(v.string()) }),
  ),
  /** Pieces linked only when the span ends with this segment. */
  exit: v.array(v.string()),
  caches: v.array(cache),
  /** Multiply-adds times two for one token, attention over the cache not counted. */
  flops: count,
})
export type Segment = v.InferOutput<typeof segment>

/** A tensor that crosses a border between segments. */
const tensor = v.strictObject({
  dtype,
  dims: v.array(affine),
  /** The segment that computes it. */
  from: count,
  /** The segments that read it, ascending; all later than `from`. */
  to: v.array(count),
  /** Its expected bytes for the golden prompt, in golden.bin. */
  golden: range,
})
export type BorderTensor = v.InferOutput<typeof tensor>

/** A weight matrix in blocks of few bits (MatMulNBits), W[k, n] = (q - zero) * scale. */
const quantised = v.strictObject({
  name: v.string(),
  bits: v.picklist([4, 8]),
  /** Rows k that share one scale. */
  block: count,
  k: count,
  n: count,
  /** Offsets in the blob: q as `[n, k/block, block*bits/8]` bytes, little nibble first. */
  q: count,
  /** float32 `[n, k/block]`. */
  scales: count,
  /** uint8, packed like q along k/block and padded to whole bytes per n; null: 2^(bits-1). */
  zeros: v.nullable(count),
  /** Offset of the float32 `[k, n]` matrix in the blob's dense form. */
  dense: count,
  /**
   * Offsets in the blob's lean form: int8 `[k, n]` and float32 scales `[k/block, n]`; null
   * where the graph stays packed in lean mode too (8 bits with zero points, old opsets).
   */
  lean: v.nullable(v.strictObject({ q: count, scales: count })),
})
export type Quantised = v.InferOutput<typeof quantised>

const form = v.picklist(['packed', 'dense', 'lean'])
/** How quantised weights are kept: as exported, as fp32, or as int8 with scales. */
export type WeightForm = v.InferOutput<typeof form>

/** Weights that are loaded together; graph pieces name it as external data location. */
const blob = v.strictObject({
  bytes: count,
  /** Content addresses; their bytes one after another make up the blob. */
  shards: v.array(sha256),
  tensors: v.array(
    v.strictObject({
      name: v.string(),
      dtype,
      dims: v.array(count),
      offset: count,
      bytes: count,
    }),
  ),
  quantised: v.array(quantised),
  /** Length of the derived forms. Locations are `externalPath(blob, form)` (link/paths.ts). */
  denseBytes: count,
  leanBytes: count,
  /**
   * By mode of the span: which forms its graph names, and the bytes resident then. A tied
   * embedding of 8 bits is looked up in the lean matrix of the head, so it counts once.
   */
  forms: v.strictObject({
    packed: v.array(form),
    dense: v.array(form),
    lean: v.array(form),
  }),
  resident: v.strictObject({ packed: count, dense: count, lean: count }),
})
export type WeightBlob = v.InferOutput<typeof blob>

export const manifestSchema = v.strictObject({
  format: v.literal(MANIFEST_FORMAT),
  version: v.literal(MANIFEST_VERSION),
  model: v.strictObject({
    name: v.string(),
    /** File suffix of the variant that was cut ('' for the plain file). */
    variant: v.string(),
    architecture: v.nullable(v.string()),
    license: v.nullable(v.string()),
  }),
  /** Number of layers n; there are n+2 segments. */
  layers: count,
  /** Width of the hidden state (last axis of the tensors that cross every border). */
  hidden: count,
  vocabulary: count,
  /** Longest context in tokens that the model was made for. */
  context: count,
  /** Token ids that end an answer. */
  eos: v.array(count),
  /** Whether the graph runs more than one sequence at once (B > 1). */
  batch: v.boolean(),
  logits: v.strictObject({
    name: v.string(),
    dtype,
    /** Whether the graph gives logits for all rows or only for the last one. */
    rows: v.picklist(['all', 'last']),
  }),
  /** ModelProto fields without the graph: IR version, opset imports, local functions. */
  header: range,
  graph: v.strictObject({ file: fileName, bytes: count, sha256 }),
  golden: v.strictObject({
    file: fileName,
    bytes: count,
    sha256,
    /** The prompt whose prefill gave the golden states. */
    ids: v.array(count),
    /** Logits of all computed rows. */
    logits: range,
  }),
  pieces: v.record(v.string(), piece),
  feeds: v.record(v.string(), feed),
  segments: v.array(segment),
  tensors: v.record(v.string(), tensor),
  /** LinguaLinked's maps: which tensors cross exactly one border, and which cross more. */
  dependencies: v.strictObject({
    sequential: v.array(
      v.strictObject({ from: count, to: count, tensors: v.array(v.string()) }),
    ),
    residual: v.array(
      v.strictObject({ from: count, to: count, tensors: v.array(v.string()) }),
    ),
  }),
  blobs: v.record(v.string(), blob),
  shards: v.record(
    sha256,
    v.strictObject({ bytes: v.pipe(count, v.maxValue(MAX_SHARD_BYTES)) }),
  ),
  /** Text files that travel with the model. */
  files: v.array(v.strictObject({ file: fileName, bytes: count, sha256 })),
})
export type Manifest = v.InferOutput<typeof manifestSchema>

/** Value of an affine expression. */
export function evaluate(
  [c, b, s, p]: Affine,
  batch: number,
  rows: number,
  past: number,
): number {
  return c + b * batch + s * rows + p * past
}

/**
 * Reads a manifest.
 * @throws Error with one sentence saying what is wrong.
 */
export function parseManifest(json: unknown): Manifest {
  if (typeof json === 'object' && json !== null && 'version' in json) {
    const { format, version } = json as { format?: unknown; version: unknown }
    if (format === MANIFEST_FORMAT && version !== MANIFEST_VERSION)
      throw new Error(
        `This model was cut with manifest version ${String(version)}; this app reads version ${MANIFEST_VERSION}. Cut it again with "npm run split".`,
      )
  }
  const result = v.safeParse(manifestSchema, json)
  if (!result.success) {
    const issue = result.issues[0]
    throw new Error(
      `manifest.json is not a valid Choir manifest: ${v.getDotPath(issue) ?? 'top level'}: ${issue.message}`,
    )
  }
  return result.output
}
