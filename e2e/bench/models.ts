/** Where the peers' models are, and a dense copy of the default one in the hub's layout. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, open, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import protobuf from 'protobufjs'
import { ROOT } from '../../app/serve/build.ts'
import { link } from '../../model-split/link/link.ts'
import { openCutFolder } from '../../model-split/run/folder.ts'
import { assembleWeights } from '../../workers/stage/weights.ts'

export const MODEL = 'smollm2-135m-instruct'
export const CUT = join(ROOT, 'public/models', MODEL)
const SHARED = join(ROOT, '../shared/models')

export interface PeerModels {
  /** Folder in the hub's layout with `onnx/model_q4.onnx`; null: not on this computer. */
  readonly q4: string | null
  readonly gguf: string | null
}

export function findModels(gguf: string | null): PeerModels {
  const q4 = join(SHARED, MODEL)
  const file = gguf ?? join(SHARED, `${MODEL}.gguf`)
  return {
    q4: existsSync(join(q4, 'onnx/model_q4.onnx')) ? q4 : null,
    gguf: existsSync(file) ? file : null,
  }
}

const schema = protobuf.parse(`syntax = "proto2";
  message Entry { optional string key = 1; optional string value = 2; }
  message Tensor {
    repeated int64 dims = 1; optional int32 data_type = 2; optional string name = 8;
    optional bytes raw_data = 9; repeated float float_data = 4 [packed = true];
    repeated int32 int32_data = 5 [packed = true];
    repeated int64 int64_data = 7 [packed = true];
    repeated Entry external_data = 13; optional int32 data_location = 14;
  }`).root
const tensorType = schema.lookupType('Tensor')

interface TensorMessage {
  externalData: { key: string; value: string }[]
}

/**
 * Writes the default model with fp32 weights, dequantised exactly, as `onnx/model.onnx` with
 * one external data file beside it. Kept between runs.
 *
 * @param like folder with config and tokenizer.
 * @returns its folder.
 */
export async function fp32Model(like: string): Promise<string> {
  const files = await openCutFolder(CUT)
  const { manifest, graph } = files
  const key = createHash('sha256').update(manifest.graph.sha256).digest('hex').slice(0, 8)
  const folder = join(ROOT, '.cache/bench', `${MODEL}-fp32-${key}`)
  const target = join(folder, 'onnx/model.onnx')
  if (existsSync(target)) return folder
  await mkdir(dirname(target), { recursive: true })
  for (const name of [
    'config.json',
    'generation_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
  ])
    await copyFile(join(like, name), join(folder, name))
  const span = { from: 0, to: manifest.layers, embed: true, head: true }
  const linked = link(manifest, graph, span, 'dense')
  const data = await open(`${target}_data`, 'w')
  const starts = new Map<string, number>()
  let at = 0
  try {
    for (const request of linked.externalData) {
      const [file] = await assembleWeights(manifest, [request], {
        file: (name) => readFile(join(CUT, name)),
        shard: (sha) => readFile(join(CUT, 'shards', `${sha}.bin`)),
      })
      if (!file) throw new Error(`No weights were made for ${request.path}.`)
      starts.set(file.path, at)
      await data.write(file.data, 0, file.data.byteLength, at)
      at += Math.ceil(file.data.byteLength / 64) * 64
    }
  } finally {
    await data.close()
  }
  const moved = moveData(linked.model, (location) => {
    const start = starts.get(location)
    if (start === undefined) throw new Error(`The graph names no data at "${location}".`)
    return start
  })
  await writeFile(`${target}.part`, nameAxes(moved))
  await rename(`${target}.part`, target)
  return folder
}

/** Points all external data of a ModelProto at one file. Other fields stay as they are. */
function moveData(model: Uint8Array, startOf: (location: string) => number): Uint8Array {
  return rewrite(model, 7, (graph) =>
    rewrite(graph, 5, (bytes) => {
      const tensor = tensorType.decode(bytes) as unknown as TensorMessage
      const location = tensor.externalData.find(({ key }) => key === 'location')?.value
      if (location === undefined) return bytes
      const offset = tensor.externalData.find((entry) => entry.key === 'offset')
      const rest = tensor.externalData.filter(({ key }) => key === 'length')
      tensor.externalData = [
        { key: 'location', value: 'model.onnx_data' },
        { key: 'offset', value: String(startOf(location) + Number(offset?.value ?? 0)) },
        ...rest,
      ]
      return tensorType.encode(tensor).finish()
    }),
  )
}

/** Calls the inputs' axes as hub exports do: transformers.js makes its caches by these names. */
function nameAxes(model: Uint8Array): Uint8Array {
  // Graph, inputs, type, tensor type, shape, dimension, its name.
  const path = [7, 11, 2, 1, 2, 1, 2]
  const walk = (bytes: Uint8Array, [field, ...rest]: readonly number[]): Uint8Array => {
    if (field === undefined) return Buffer.from(axisName(Buffer.from(bytes).toString()))
    return rewrite(bytes, field, (inner) => walk(inner, rest))
  }
  return walk(model, path)
}

function axisName(symbol: string): string {
  const grows = symbol.includes('+1P')
  if (symbol.includes('+1B')) return 'batch_size'
  if (symbol.includes('+1S')) return grows ? 'total_sequence_length' : 'sequence_length'
  return grows ? 'past_sequence_length' : symbol
}

/** Replaces every length-delimited field of one number in a message. */
function rewrite(
  message: Uint8Array,
  field: number,
  change: (value: Uint8Array) => Uint8Array,
): Uint8Array {
  const reader = protobuf.Reader.create(message)
  const parts: Uint8Array[] = []
  while (reader.pos < reader.len) {
    const start = reader.pos
    const tag = reader.uint32()
    if (tag >>> 3 !== field || (tag & 7) !== 2) {
      reader.skipType(tag & 7)
      parts.push(message.subarray(start, reader.pos))
      continue
    }
    const writer = protobuf.Writer.create()
    writer.uint32(tag).bytes(change(reader.bytes()))
    parts.push(writer.finish())
  }
  return Buffer.concat(parts)
}
