/** Cuts an exported decoder into a folder of graph pieces, shards and a manifest. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MANIFEST_FORMAT, MANIFEST_VERSION, parseManifest } from '../manifest.ts'
import type { Affine, Dtype, Feed, Manifest, Segment } from '../manifest.ts'
import { topologicalOrder } from '../onnx/check.ts'
import { readConfig, type ModelConfig } from '../onnx/config.ts'
import { inferDtypes } from '../onnx/dtypes.ts'
import { ModelError } from '../onnx/error.ts'
import { readModel, readTensor } from '../onnx/read.ts'
import type { OnnxModel, OnnxNode } from '../onnx/types.ts'
import { cutFolder, hash } from '../run/folder.ts'
import { HEAP_BYTES, type Optimisation } from '../run/runner.ts'
import type { ModelSource } from '../source/source.ts'
import { assignSegments } from './border.ts'
import { foldBranches } from './branches.ts'
import { checkConfig, describeCache } from './caches.ts'
import { checkCaches, traceFlow } from './flow.ts'
import { findQuantised, planReads, writeGraph } from './graph.ts'
import { measure, type OwnedShape } from './measure.ts'
import { layOut, segmentName, type Layout } from './parts.ts'
import { placePreludes } from './prelude.ts'
import { findRoles, type Roles } from './roles.ts'
import { writeShards } from './shards.ts'
import { makeFolder } from './target.ts'
import { copyTexts } from './texts.ts'
import { findModelFile, modelName } from './variant.ts'

/** Rows of the golden prompt. */
const GOLDEN_ROWS = 7

export interface CutOptions {
  readonly variant?: string | undefined
  readonly onProgress?: (line: string) => void
  /** Runs on the finished folder before it takes its place; what it throws undoes the cut. */
  readonly check?: (folder: string, cut: CutResult) => Promise<void>
}

export interface CutResult {
  readonly manifest: Manifest
  /** Path of the model file that was cut, in its source. */
  readonly file: string
  /** Graph optimisation level that the runtime needed to open the pieces. */
  readonly optimisation: Optimisation
}

/**
 * @param out folder to make; an older cut there is replaced once the new one is whole.
 * @throws ModelError or SourceError with one sentence; nothing half-written stays behind.
 */
export async function cutModel(
  source: ModelSource,
  out: string,
  options: CutOptions = {},
): Promise<CutResult> {
  return makeFolder(out, async (folder) => {
    const result = await cutInto(source, folder, options)
    await options.check?.(folder, result)
    return result
  })
}

async function cutInto(
  source: ModelSource,
  folder: string,
  options: CutOptions,
): Promise<CutResult> {
  const progress = options.onProgress ?? (() => undefined)
  const file = await findModelFile(source, options.variant)
  progress(`reading ${file.path}`)
  const config = await readConfig(source)
  const read = await readModel(source, file.path)
  const model = { ...read, graph: foldBranches(read.graph) }
  const order = topologicalOrder(model.graph)
  const dtypes = inferDtypes(model)
  const roles = findRoles(model.graph)
  const flow = traceFlow(model.graph, order, roles, dtypes)
  checkCaches(flow, roles)
  checkConfig(config, roles, model.graph)
  const segments = assignSegments(flow, roles)
  const prelude = placePreludes(flow, segments, roles)
  const layout = layOut(flow, segments, prelude, roles)
  const known = knownShapes(prelude.shapes, roles, config)
  const owned: OwnedShape[] = prelude.shapes
    .filter((node) => !known.has(node.outputs[0] ?? ''))
    .map((node) => ({
      node,
      owner: segments[flow.producer.get(node.inputs[0] ?? '') ?? 0] ?? 0,
    }))
  const feeds = new Map<string, Feed>([...roles.feeds, ...known])
  for (const { node } of owned)
    node.outputs.forEach((name) =>
      feeds.set(name, { dtype: 'int64', dims: [], fill: { kind: 'values', values: [] } }),
    )
  const quantised = findQuantised(model, layout)
  const bodyOf = (part: string): string => {
    const joint = /^joint\.(\d+)\./.exec(part)
    return joint ? segmentName(Number(joint[1]), roles.layers) : part
  }
  const weights = planReads(model, layout, quantised, bodyOf)
  const largest = weights.blobs.find(({ blob }) => blob.bytes > HEAP_BYTES)
  if (largest)
    throw new ModelError(
      `The part ${largest.id} of the model has ${(largest.blob.bytes / 2 ** 30).toFixed(1)} GiB of weights, more than one WebAssembly heap holds; cut a quantised variant.`,
    )
  const readWeight = async (name: string): Promise<Uint8Array> => {
    const tensor = model.graph.initializers.get(name)
    if (!tensor) throw new ModelError(`The graph reads ${name}, which nothing gives.`)
    return readTensor(source, tensor)
  }
  const graph = await writeGraph({
    model,
    layout,
    quantised,
    weights,
    feeds,
    read: readWeight,
  })
  await writeFile(join(folder, 'graph.bin'), graph.bytes)
  const { blobs, shards } = await writeShards(
    source,
    folder,
    weights.blobs,
    (done, all) => progress(`weights ${done + 1}/${all}`),
  )
  const used = new Set(Object.values(graph.pieces).flatMap((piece) => piece.feeds))
  const draft: Manifest = {
    format: MANIFEST_FORMAT,
    version: MANIFEST_VERSION,
    model: {
      name: modelName(source),
      variant: file.variant,
      architecture: config.modelType,
      license: config.license,
    },
    layers: roles.layers,
    hidden: config.hidden ?? 0,
    vocabulary: config.vocabulary ?? 0,
    context: config.context ?? 2048,
    eos: [...config.eos],
    batch: true,
    logits: {
      name: roles.logits,
      dtype: dtypes.get(roles.logits) ?? 'float32',
      rows: 'all',
    },
    header: graph.header,
    graph: { file: 'graph.bin', bytes: graph.bytes.length, sha256: hash(graph.bytes) },
    golden: {
      file: 'golden.bin',
      bytes: 0,
      sha256: hash(new Uint8Array()),
      ids: [],
      logits: [0, 0],
    },
    pieces: graph.pieces,
    feeds: Object.fromEntries([...feeds].filter(([name]) => used.has(name))),
    segments: describeSegments(model, layout, roles, config),
    tensors: describeTensors(layout, dtypes),
    dependencies: dependencyMaps(layout),
    blobs,
    shards,
    files: await copyTexts(source, folder),
  }
  const measured = await measure(
    draft,
    (manifest) => cutFolder(folder, manifest, graph.bytes),
    owned,
    goldenIds(config.vocabulary ?? 100),
    (segment, all) => progress(`measuring ${segment + 1}/${all}`),
  )
  await writeFile(join(folder, 'golden.bin'), measured.golden)
  const manifest = parseManifest({
    ...measured.manifest,
    golden: {
      ...measured.manifest.golden,
      bytes: measured.golden.length,
      sha256: hash(measured.golden),
    },
  })
  await writeFile(join(folder, 'manifest.json'), `${JSON.stringify(manifest)}\n`)
  return { manifest, file: file.path, optimisation: measured.optimisation }
}

/** A prompt of spread-out ids, the same for every cut of a vocabulary. */
function goldenIds(vocabulary: number): number[] {
  return Array.from({ length: GOLDEN_ROWS }, (_, i) => (1 + 7919 * (i + 1)) % vocabulary)
}

/** Shape inputs whose operand's shape is known before any run: the ids and the caches. */
function knownShapes(
  shapes: readonly OnnxNode[],
  roles: Roles,
  config: ModelConfig,
): Map<string, Feed> {
  const operands = new Map<string, Affine[]>([
    [
      roles.ids,
      [
        [0, 1, 0, 0],
        [0, 0, 1, 0],
      ],
    ],
  ])
  for (const pair of roles.caches) {
    const { input, output, dims, axis } = describeCache(pair, config)
    operands.set(input, dims)
    operands.set(
      output,
      dims.map((dim, i): Affine => (i === axis ? [0, 0, 1, 1] : dim)),
    )
  }
  const known = new Map<string, Feed>()
  for (const node of shapes) {
    const dims = operands.get(node.inputs[0] ?? '')
    const name = node.outputs[0]
    if (!dims || name === undefined || node.opType !== 'Shape') continue
    const bound = (key: string): number | undefined => {
      const attribute = node.attributes.get(key)
      return attribute?.kind === 'int' ? attribute.value : undefined
    }
    const values = dims.slice(bound('start') ?? 0, bound('end'))
    known.set(name, {
      dtype: 'int64',
      dims: [[values.length, 0, 0, 0]],
      fill: { kind: 'values', values },
    })
  }
  return known
}

function describeSegments(
  model: OnnxModel,
  layout: Layout,
  roles: Roles,
  config: ModelConfig,
): Segment[] {
  const givers = new Map(
    model.graph.nodes.flatMap((node) => node.outputs.map((name) => [name, node])),
  )
  return layout.entries.map((entry, segment) => {
    const name = segmentName(segment, roles.layers)
    const part = layout.parts.find(({ id }) => id === name)
    const joints = entry.inside !== null && entry.border !== null
    return {
      name,
      pieces: [name],
      ...(joints && {
        entry: { inside: [entry.inside ?? ''], border: [entry.border ?? ''] },
      }),
      exit: entry.exit === null ? [] : [entry.exit],
      caches: roles.caches
        .filter(({ layer }) => layer + 1 === segment)
        .map((pair) => describeCache(pair, config)),
      flops: (part?.nodes ?? []).reduce(
        (sum, { node }) => sum + flopsOf(model, node, givers),
        0,
      ),
    }
  })
}

/** Operators that multiply rows by weight matrices. */
const PRODUCTS = /MatMul|Gemm|Conv|MoE|Einsum|LSTM|GRU|^Attention$/
/** Operators that weights pass on their way there. */
const PASSES = /^(Cast|Transpose|Reshape|Identity|DequantizeLinear)$/

/** Multiply-adds times two of one token through the node's weight matrices. */
function flopsOf(
  { graph }: OnnxModel,
  node: OnnxNode,
  givers: ReadonlyMap<string, OnnxNode>,
): number {
  if (!PRODUCTS.test(node.opType)) return 0
  const [k, n] = ['K', 'N'].map((key) => node.attributes.get(key))
  if (k?.kind === 'int' && n?.kind === 'int') return 2 * k.value * n.value
  return node.inputs.reduce((sum, input) => {
    let name = input
    for (let giver = givers.get(name); giver && PASSES.test(giver.opType);) {
      name = giver.inputs[0] ?? ''
      giver = givers.get(name)
    }
    const dims = graph.initializers.get(name)?.dims ?? []
    return dims.length < 2
      ? sum
      : sum + 2 * dims.reduce((product, dim) => product * dim, 1)
  }, 0)
}

function describeTensors(
  layout: Layout,
  dtypes: ReadonlyMap<string, Dtype>,
): Manifest['tensors'] {
  return Object.fromEntries(
    [...layout.borders].map(([name, { from, to }]) => {
      // A joint's sum has no name in the graph; it is made for fp32 only.
      const dtype = dtypes.get(name) ?? (name.endsWith('/sum') ? 'float32' : undefined)
      if (!dtype)
        throw new ModelError(
          `The type of the tensor ${name}, which crosses a border between layers, is not known; run the exporter's shape inference.`,
        )
      return [name, { dtype, dims: [], from, to, golden: [0, 0] as [number, number] }]
    }),
  )
}

function dependencyMaps(layout: Layout): Manifest['dependencies'] {
  const maps = {
    sequential: new Map<string, string[]>(),
    residual: new Map<string, string[]>(),
  }
  for (const [name, { from, to }] of layout.borders)
    for (const reader of to) {
      const map = reader === from + 1 ? maps.sequential : maps.residual
      const key = `${from},${reader}`
      map.set(key, [...(map.get(key) ?? []), name])
    }
  const list = (
    map: Map<string, string[]>,
  ): { from: number; to: number; tensors: string[] }[] =>
    [...map].map(([key, tensors]) => {
      const [from = 0, to = 0] = key.split(',').map(Number)
      return { from, to, tensors }
    })
  return { sequential: list(maps.sequential), residual: list(maps.residual) }
}
