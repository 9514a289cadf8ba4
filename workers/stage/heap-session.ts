/** One ONNX Runtime session whose tensors may stay in the WASM heap between runs. */
import { DATA_TYPE } from '../../model-split/link/wire.ts'
import { DTYPES, type Dtype } from '../../model-split/manifest.ts'
import {
  allocate,
  allocateText,
  heap,
  throwLastError,
  type HeapModule,
} from './heap-module.ts'
import { externalBytes, sumOf } from './onnx-fields.ts'
import { byteLength } from './tensors.ts'
import type { TensorData } from './types.ts'
import type { WeightFile } from './weights.ts'

/** A tensor in the heap. */
export interface HeapTensor {
  /** The runtime's handle; 0 once disposed. */
  readonly handle: number
  readonly dtype: Dtype
  readonly dims: readonly number[]
  readonly address: number
  readonly bytes: number
  /** Whether `address` is ours to free; else it belongs to the handle. */
  readonly owned: boolean
}

export type OptimisationLevel = 'disabled' | 'basic' | 'extended' | 'all'
const LEVELS: Readonly<Record<OptimisationLevel, number>> = {
  disabled: 0,
  basic: 1,
  extended: 2,
  all: 99,
}

export interface SessionSettings {
  readonly optimisation: OptimisationLevel
  /** Runtime's own `key: value` settings. */
  readonly config?: Readonly<Record<string, string>>
}

const CPU = 1
const WARNINGS_OFF = 3
const BY_CODE = new Map(DTYPES.map((dtype) => [DATA_TYPE[dtype], dtype]))

export class HeapSession {
  /** Bytes of external data that it holds. */
  readonly weights: number
  readonly #module: HeapModule
  readonly #names = new Map<string, number>()
  #session: number

  private constructor(module: HeapModule, session: number, weights: number) {
    this.weights = weights
    this.#module = module
    this.#session = session
  }

  /** Weights are copied into the heap. @throws Error with the runtime's message */
  static async open(
    module: HeapModule,
    model: Uint8Array,
    weights: readonly WeightFile[],
    { optimisation, config = {} }: SessionSettings,
  ): Promise<HeapSession> {
    const texts: number[] = []
    const text = (value: string): number => {
      const address = allocateText(module, value)
      texts.push(address)
      return address
    }
    const bytes = allocate(module, model.byteLength)
    let options = 0
    try {
      heap(module).set(model, bytes)
      options = module._OrtCreateSessionOptions(
        LEVELS[optimisation],
        false,
        false,
        ...[0, false, 0, 0, WARNINGS_OFF, 0, 0],
      )
      if (options === 0) throwLastError(module)
      for (const [key, value] of Object.entries(config))
        if (module._OrtAddSessionConfigEntry(options, text(key), text(value)) !== 0)
          throwLastError(module)
      for (const { path, data } of weights) module.mountExternalData(path, data)
      const session = await module._OrtCreateSession(bytes, model.byteLength, options)
      if (session === 0) throwLastError(module)
      return new HeapSession(module, session, sumOf(externalBytes(model).values()))
    } finally {
      module.unmountExternalData()
      module._free(bytes)
      texts.forEach((address) => {
        module._free(address)
      })
      if (options !== 0) module._OrtReleaseSessionOptions(options)
    }
  }

  /**
   * @param outputs names, each with the tensor to write into or null for a fresh one.
   * @returns as many tensors as outputs; a given one comes back itself.
   */
  async run(
    inputs: ReadonlyMap<string, HeapTensor>,
    outputs: ReadonlyMap<string, HeapTensor | null>,
  ): Promise<Map<string, HeapTensor>> {
    const module = this.#module
    if (this.#session === 0) throw new Error('the session is closed')
    const stack = module.stackSave()
    const lay = (values: readonly number[]): number => {
      const at = module.stackAlloc(4 * Math.max(1, values.length))
      values.forEach((value, i) => {
        module.setValue(at + 4 * i, value, '*')
      })
      return at
    }
    try {
      const given = [...outputs.values()].map((tensor) => tensor?.handle ?? 0)
      const results = lay(given)
      const running = module._OrtRun(
        this.#session,
        lay([...inputs.keys()].map((name) => this.#name(name))),
        lay([...inputs.values()].map(({ handle }) => handle)),
        inputs.size,
        lay([...outputs.keys()].map((name) => this.#name(name))),
        outputs.size,
        results,
        0,
      )
      const code = typeof running === 'number' ? running : await running
      if (code !== 0) throwLastError(module)
      const found = new Map<string, HeapTensor>()
      let i = 0
      for (const [name, tensor] of outputs) {
        const handle = module.getValue(results + 4 * i++, '*')
        found.set(name, tensor ?? describe(module, handle))
      }
      return found
    } finally {
      module.stackRestore(stack)
    }
  }

  /** Element types of the outputs, as the graph declares them. @param inputs how many */
  outputTypes(inputs: number, outputs: readonly string[]): Map<string, Dtype> {
    const module = this.#module
    const stack = module.stackSave()
    try {
      const at = module.stackAlloc(8)
      const types = new Map<string, Dtype>()
      for (const [i, name] of outputs.entries()) {
        const index = inputs + i
        if (module._OrtGetInputOutputMetadata(this.#session, index, at, at + 4) !== 0)
          throwLastError(module)
        const metadata = module.getValue(at + 4, '*')
        const dtype = BY_CODE.get(module.getValue(metadata, 'i32'))
        module._OrtFree(module.getValue(at, '*'))
        module._OrtFree(metadata)
        if (dtype) types.set(name, dtype)
      }
      return types
    } finally {
      module.stackRestore(stack)
    }
  }

  release(): void {
    if (this.#session === 0) return
    this.#module._OrtReleaseSession(this.#session)
    this.#session = 0
    for (const address of this.#names.values()) this.#module._free(address)
    this.#names.clear()
  }

  #name(name: string): number {
    const known = this.#names.get(name)
    if (known !== undefined) return known
    const address = allocateText(this.#module, name)
    this.#names.set(name, address)
    return address
  }
}

/** A tensor of so many zeroed or unset bytes. */
export function createTensor(
  module: HeapModule,
  dtype: Dtype,
  dims: readonly number[],
  bytes: number,
): HeapTensor {
  const address = allocate(module, bytes)
  const stack = module.stackSave()
  try {
    const at = module.stackAlloc(4 * Math.max(1, dims.length))
    dims.forEach((dim, i) => {
      module.setValue(at + 4 * i, dim, 'i32')
    })
    const type = DATA_TYPE[dtype]
    const handle = module._OrtCreateTensor(type, address, bytes, at, dims.length, CPU)
    if (handle === 0) {
      module._free(address)
      throwLastError(module)
    }
    return { handle, dtype, dims, address, bytes, owned: true }
  } finally {
    module.stackRestore(stack)
  }
}

export function upload(
  module: HeapModule,
  { dtype, dims, bytes }: TensorData,
): HeapTensor {
  const tensor = createTensor(module, dtype, dims, bytes.byteLength)
  heap(module).set(bytes, tensor.address)
  return tensor
}

/** A copy outside the heap. */
export function download(module: HeapModule, tensor: HeapTensor): TensorData {
  const { address, bytes, dtype, dims } = tensor
  // Not slice(): a copy of shared memory would be shared memory again.
  const copy = new Uint8Array(bytes)
  copy.set(heap(module).subarray(address, address + bytes))
  return { dtype, dims, bytes: copy }
}

export function disposeTensor(module: HeapModule, tensor: HeapTensor): void {
  module._OrtReleaseTensor(tensor.handle)
  if (tensor.owned) module._free(tensor.address)
}

function describe(module: HeapModule, handle: number): HeapTensor {
  const stack = module.stackSave()
  try {
    const at = module.stackAlloc(16)
    if (module._OrtGetTensorData(handle, at, at + 4, at + 8, at + 12) !== 0)
      throwLastError(module)
    const code = module.getValue(at, 'i32')
    const address = module.getValue(at + 4, '*')
    const list = module.getValue(at + 8, '*')
    const rank = module.getValue(at + 12, 'i32')
    const dims = Array.from({ length: rank }, (_, i) =>
      module.getValue(list + 4 * i, 'i32'),
    )
    module._OrtFree(list)
    const dtype = BY_CODE.get(code)
    if (!dtype) throw new Error(`output of unknown type ${code}`)
    return { handle, dtype, dims, address, bytes: byteLength(dtype, dims), owned: false }
  } finally {
    module.stackRestore(stack)
  }
}
