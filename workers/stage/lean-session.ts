/**
 * A session whose int8 matrices are multiplied by our own kernel, and whose caches are attended
 * by another; the runtime computes what stands between. Stands in for `HeapSession`.
 */
import { valueInfoProto } from '../../model-split/link/wire.ts'
import type { Dtype } from '../../model-split/manifest.ts'
import { attend, attendedDims } from './attention.ts'
import type { AttentionKernel } from './attention-kernel.ts'
import type { Batch, Product } from './batch.ts'
import type { HeapModule } from './heap-module.ts'
import {
  createTensor,
  disposeTensor,
  download,
  HeapSession,
  upload,
  type HeapTensor,
} from './heap-session.ts'
import { PANEL } from './int8-kernel.ts'
import { Int8Matrix } from './int8-matrix.ts'
import type { Int8Team } from './int8-team.ts'
import type { LeanAttention } from './lean-attention.ts'
import {
  pieceModel,
  planLean,
  type LeanMatrix,
  type LeanOperation,
  type LeanPlan,
  type Place,
} from './lean-plan.ts'
import { sumOf } from './onnx-fields.ts'
import { byteLength } from './tensors.ts'
import type { WeightFile } from './weights.ts'

interface Step {
  readonly session: HeapSession | null
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly operations: readonly LeanOperation[]
}

export interface LeanTools {
  readonly team: Int8Team
  readonly attention: AttentionKernel
  /** Past and present of the caches are one buffer each. */
  readonly inPlace: boolean
}

export class LeanSession {
  readonly #module: HeapModule
  readonly #attention: AttentionKernel
  readonly #matrices = new Map<string, Int8Matrix>()
  readonly #steps: Step[] = []

  /** Weights are copied into the heap. @throws Error with the runtime's message */
  static async open(
    module: HeapModule,
    model: Uint8Array,
    weights: readonly WeightFile[],
    { team, attention, inPlace }: LeanTools,
  ): Promise<LeanSession> {
    const session = new LeanSession(module, attention)
    const bytesAt = ({ location, offset }: Place, length: number): Uint8Array => {
      const file = weights.find(({ path }) => path === location)
      if (!file || offset + length > file.data.byteLength)
        throw new Error(`the weights end before ${location} does`)
      return file.data.subarray(offset, offset + length)
    }
    const plan = planLean(model, PANEL, inPlace, (place, matrix) =>
      areScales(
        bytesAt(place, scaleBytes(matrix)),
        bytesAt(matrix.scales, scaleBytes(matrix)),
        matrix,
      ),
    )
    try {
      for (const [name, matrix] of plan.matrices) {
        const { k, n, block } = matrix
        const q = bytesAt(matrix.q, k * n)
        const scales = bytesAt(matrix.scales, scaleBytes(matrix))
        session.#matrices.set(
          name,
          new Int8Matrix(module, team, { k, n, block, q, scales }),
        )
      }
      await session.#openPieces(plan, weights)
      return session
    } catch (error) {
      session.release()
      throw error
    }
  }

  private constructor(module: HeapModule, attention: AttentionKernel) {
    this.#module = module
    this.#attention = attention
  }

  /** Bytes of matrices and of what the pieces hold. */
  get weights(): number {
    const pieces = this.#steps.map(({ session }) => session?.weights ?? 0)
    return sumOf(pieces) + sumOf([...this.#matrices.values()].map(({ bytes }) => bytes))
  }

  /** As `HeapSession.run`; in a batch, beside other runs. */
  async run(
    inputs: ReadonlyMap<string, HeapTensor>,
    outputs: ReadonlyMap<string, HeapTensor | null>,
    batch: Batch | null = null,
  ): Promise<Map<string, HeapTensor>> {
    const known = new Map(inputs)
    const made: [string, HeapTensor][] = []
    const add = (name: string, tensor: HeapTensor): void => {
      known.set(name, tensor)
      if (tensor !== outputs.get(name)) made.push([name, tensor])
    }
    const get = (name: string): HeapTensor => {
      const tensor = known.get(name)
      if (!tensor) throw new Error(`"${name}" is not there`)
      return tensor
    }
    const unused = new Set(made)
    try {
      for (const step of this.#steps) {
        const { session } = step
        if (session) {
          const given = new Map(step.inputs.map((name) => [name, get(name)]))
          const wanted = new Map(
            step.outputs.map((name) => [name, outputs.get(name) ?? null]),
          )
          const run = () => session.run(given, wanted)
          for (const [name, tensor] of await (batch ? batch.call(run) : run()))
            add(name, tensor)
        }
        const products: Product[] = []
        for (const one of step.operations) {
          if (one.kind === 'attention') {
            for (const name of one.presents) {
              const present = outputs.get(name)
              if (present) add(name, present)
            }
            add(one.output, this.#attend(one, get))
            continue
          }
          const matrix = this.#matrices.get(one.matrix)
          if (!matrix) throw new Error('the session is closed')
          const input = get(one.input)
          if (one.kind === 'product') {
            const product = this.#prepare(matrix, input)
            add(one.output, product.output)
            products.push(product)
          } else add(one.output, this.#lookUp(matrix, one.kind, input))
        }
        if (batch) await batch.multiply(products)
        else for (const product of products) product.matrix.multiply([product])
      }
      const found = new Map([...outputs.keys()].map((name) => [name, get(name)]))
      for (const entry of made) if (!found.has(entry[0])) unused.add(entry)
      return found
    } catch (error) {
      for (const entry of made) unused.add(entry)
      throw error
    } finally {
      for (const [, tensor] of unused) disposeTensor(this.#module, tensor)
    }
  }

  release(): void {
    for (const { session } of this.#steps) session?.release()
    this.#steps.length = 0
    for (const matrix of this.#matrices.values()) matrix.free()
    this.#matrices.clear()
  }

  /** A product, and the tensor that it will fill. */
  #prepare(matrix: Int8Matrix, input: HeapTensor): Product & { output: HeapTensor } {
    const { k, n } = matrix
    if (input.dims.at(-1) !== k || input.dtype !== 'float32')
      throw new Error('a product got a tensor of another shape')
    const dims = input.dims.with(-1, n)
    const bytes = byteLength('float32', dims)
    const output = createTensor(this.#module, 'float32', dims, bytes)
    return { matrix, x: input.address, y: output.address, rows: bytes / 4 / n, output }
  }

  #attend(one: LeanAttention, get: (name: string) => HeapTensor): HeapTensor {
    const maybe = (name: string) => (name === '' ? null : get(name))
    const inputs = {
      query: get(one.query),
      key: maybe(one.key),
      value: maybe(one.value),
      keys: get(one.keys),
      values: get(one.values),
      last: get(one.last),
      cos: maybe(one.cos),
      sin: maybe(one.sin),
    }
    const dims = attendedDims(inputs, one.shape)
    const bytes = byteLength('float32', dims)
    const output = createTensor(this.#module, 'float32', dims, bytes)
    try {
      attend(this.#module, this.#attention, inputs, one.shape, output.address)
      return output
    } catch (error) {
      disposeTensor(this.#module, output)
      throw error
    }
  }

  #lookUp(matrix: Int8Matrix, kind: 'lookup' | 'scales', input: HeapTensor): HeapTensor {
    const { k, block } = matrix
    const { bytes } = download(this.#module, input)
    const wide = input.dtype === 'int64'
    const indices = [
      ...(wide ? new BigInt64Array(bytes.buffer) : new Int32Array(bytes.buffer)),
    ]
    const { q, scales } = matrix.columns(indices.map(Number))
    return kind === 'lookup'
      ? upload(this.#module, {
          dtype: 'uint8',
          dims: [...input.dims, k / block, block],
          bytes: q,
        })
      : upload(this.#module, {
          dtype: 'float32',
          dims: [...input.dims, k / block],
          bytes: scales,
        })
  }

  async #openPieces(plan: LeanPlan, weights: readonly WeightFile[]): Promise<void> {
    const types = new Map<string, Dtype>()
    for (const { operations } of plan.steps)
      for (const { kind, output } of operations)
        types.set(output, kind === 'lookup' ? 'uint8' : 'float32')
    for (const { piece, operations } of plan.steps) {
      const { inputs, outputs } = piece ?? { inputs: [], outputs: [] }
      let session: HeapSession | null = null
      if (piece) {
        const model = pieceModel(plan, piece, (name) =>
          valueInfoProto(name, types.get(name) ?? 'float32', null),
        )
        // Any higher level fuses what is left of DequantizeLinear and MatMul into MatMulNBits,
        // which is ten times slower.
        const optimisation = 'basic'
        session = await HeapSession.open(this.#module, model, weights, { optimisation })
        for (const [name, type] of session.outputTypes(inputs.length, outputs))
          types.set(name, type)
      }
      this.#steps.push({ session, inputs, outputs, operations })
    }
  }
}

function scaleBytes({ k, n, block }: LeanMatrix): number {
  return 4 * (k / block) * n
}

/** Whether `[n, blocks]` holds what `[blocks, n]` does. */
function areScales(
  table: Uint8Array,
  scales: Uint8Array,
  { k, n, block }: LeanMatrix,
): boolean {
  const blocks = k / block
  const view = (bytes: Uint8Array) => new Uint32Array(bytes.slice().buffer)
  const [a, b] = [view(table), view(scales)]
  return a.every((value, i) => value === b[(i % blocks) * n + Math.floor(i / blocks)])
}
