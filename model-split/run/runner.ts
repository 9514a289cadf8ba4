/**
 * Runs a span in Node on the same WebAssembly kernels that browsers use. For cutting and
 * checking; phones run spans in workers/stage.
 */
import * as ort from 'onnxruntime-web/wasm'
import { fillFeed, emptyCache, type Filled, type RunShape } from '../link/fill.ts'
import { link, type Extra, type LinkedSpan } from '../link/link.ts'
import type { Cache, Dtype, Feed, Manifest, WeightForm } from '../manifest.ts'
import type { Span } from '../span.ts'

ort.env.wasm.numThreads = 1
// What goes wrong is thrown, and said once.
ort.env.logLevel = 'fatal'

/** The WebAssembly heap ends at 4 GiB; weights must fit with room to run. */
export const HEAP_BYTES = 3.5 * 2 ** 30

export type Optimisation = 'disabled' | 'basic' | 'extended' | 'all'
export type Tensors = ReadonlyMap<string, Filled>

/** Where the bytes of a cut model come from. */
export interface CutFiles {
  readonly manifest: Manifest
  readonly graph: Uint8Array
  blob(id: string, form: WeightForm): Promise<Uint8Array>
}

/** What one run of a graph reads and gives besides border tensors. */
interface Wiring {
  readonly feeds: Readonly<Record<string, Feed>>
  readonly caches: readonly Cache[]
}

/** One graph in the runtime, with the caches of one sequence (or one batch). */
export class GraphRunner {
  private constructor(
    private readonly session: ort.InferenceSession,
    private readonly wiring: Wiring,
  ) {}

  /** Rows in the caches. */
  private past = 0
  private caches = new Map<string, ort.Tensor>()

  static async open(
    model: Uint8Array,
    wiring: Wiring,
    externalData: readonly { path: string; data: Uint8Array }[],
    optimisation: Optimisation,
  ): Promise<GraphRunner> {
    const session = await ort.InferenceSession.create(model, {
      executionProviders: ['wasm'],
      graphOptimizationLevel: optimisation,
      externalData,
      logSeverityLevel: 4,
    })
    return new GraphRunner(session, wiring)
  }

  /**
   * Runs S rows after those that are cached.
   * @param ids token ids `[B, S]`, where the graph reads them.
   */
  async run(
    rows: number,
    inputs: Tensors = new Map(),
    ids: readonly number[] = [],
    batch = 1,
  ): Promise<Map<string, Filled>> {
    const shape: RunShape = { batch, rows, past: this.past }
    const feeds: Record<string, ort.Tensor> = {}
    for (const [name, feed] of Object.entries(this.wiring.feeds))
      feeds[name] = toTensor(fillFeed(feed, shape, ids))
    for (const [name, tensor] of inputs) feeds[name] = toTensor(tensor)
    for (const cache of this.wiring.caches)
      feeds[cache.input] =
        this.caches.get(cache.input) ?? toTensor(emptyCache(cache, batch))
    const results = await this.session.run(feeds, { logSeverityLevel: 4 })
    const cached = new Set(this.wiring.caches.map((cache) => cache.output))
    for (const { input, output } of this.wiring.caches) {
      const present = results[output]
      if (present) this.caches.set(input, present)
    }
    this.past += rows
    return new Map(
      Object.entries(results)
        .filter(([name]) => !cached.has(name))
        .map(([name, tensor]) => [name, fromTensor(tensor)]),
    )
  }

  /** Shapes of the caches as the graph gave them last. */
  cacheDims(): Map<string, readonly number[]> {
    return new Map([...this.caches].map(([name, tensor]) => [name, tensor.dims]))
  }

  reset(): void {
    this.past = 0
    this.caches = new Map()
  }

  async release(): Promise<void> {
    await this.session.release()
  }
}

export async function openSpan(
  files: CutFiles,
  span: Span,
  options: { mode?: WeightForm; optimisation?: Optimisation; extra?: Extra } = {},
): Promise<{ runner: GraphRunner; linked: LinkedSpan }> {
  const linked = link(
    files.manifest,
    files.graph,
    span,
    options.mode ?? 'packed',
    options.extra,
  )
  const externalData = []
  for (const { path, blob, form } of linked.externalData)
    externalData.push({ path, data: await files.blob(blob, form) })
  const runner = await GraphRunner.open(
    linked.model,
    linked,
    externalData,
    options.optimisation ?? 'disabled',
  )
  return { runner, linked }
}

function toTensor({ dtype, dims, bytes }: Filled): ort.Tensor {
  return new ort.Tensor(dtype as ort.Tensor.Type, typed(dtype, bytes) as never, dims)
}

function fromTensor(tensor: ort.Tensor): Filled {
  const data = tensor.data
  if (!ArrayBuffer.isView(data))
    throw new Error('The runtime gave text where numbers belong.')
  const bytes = new Uint8Array(data.byteLength)
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  return { dtype: tensor.type as Dtype, dims: [...tensor.dims], bytes }
}

/** The typed array that the runtime wants for a type; bytes are copied only if unaligned. */
function typed(dtype: Dtype, bytes: Uint8Array): ArrayBufferView {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice()
  const at = (size: number): [ArrayBufferLike, number, number] => [
    aligned.buffer,
    aligned.byteOffset,
    aligned.byteLength / size,
  ]
  switch (dtype) {
    case 'float32':
      return new Float32Array(...at(4))
    case 'float64':
      return new Float64Array(...at(8))
    case 'int64':
      return new BigInt64Array(...at(8))
    case 'uint64':
      return new BigUint64Array(...at(8))
    case 'int32':
      return new Int32Array(...at(4))
    case 'uint32':
      return new Uint32Array(...at(4))
    case 'float16':
    case 'bfloat16':
    case 'uint16':
      return new Uint16Array(...at(2))
    case 'int16':
      return new Int16Array(...at(2))
    case 'int8':
      return new Int8Array(...at(1))
    default:
      return new Uint8Array(...at(1))
  }
}

/** Numbers of a float tensor. */
export function floats({ dtype, bytes }: Filled): Float32Array | Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (dtype === 'float32')
    return Float32Array.from({ length: bytes.byteLength / 4 }, (_, i) =>
      view.getFloat32(4 * i, true),
    )
  if (dtype === 'float16')
    return Float32Array.from({ length: bytes.byteLength / 2 }, (_, i) =>
      half(view.getUint16(2 * i, true)),
    )
  if (dtype === 'float64')
    return Float64Array.from({ length: bytes.byteLength / 8 }, (_, i) =>
      view.getFloat64(8 * i, true),
    )
  throw new Error(`A tensor of type ${dtype} holds no floats.`)
}

/** IEEE 754 half precision to a number. */
export function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
