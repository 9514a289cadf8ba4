/**
 * The exported C interface of `ort-wasm-simd-threaded.mjs` (onnxruntime-web 1.30), as far as
 * the engine calls it. Going past the JavaScript layer lets caches stay in the WASM heap:
 * `InferenceSession.run` copies every input and output on each step.
 */
import * as v from 'valibot'

/** Addresses and handles are byte offsets into the heap; functions give 0 for success. */
export interface HeapModule {
  readonly HEAPU8: Uint8Array
  /** The heap, for modules of our own. */
  readonly memory: WebAssembly.Memory
  getValue(address: number, type: 'i8' | 'i32' | '*'): number
  setValue(address: number, value: number, type: 'i32' | '*'): void
  UTF8ToString(address: number): string
  stringToUTF8(text: string, address: number, room: number): void
  lengthBytesUTF8(text: string): number
  stackSave(): number
  stackRestore(stack: number): void
  stackAlloc(bytes: number): number
  /** 0 where memory ran out. */
  _malloc(bytes: number): number
  _free(address: number): void
  mountExternalData(path: string, data: Uint8Array): void
  unmountExternalData(): void
  _OrtInit(threads: number, logLevel: number): number
  _OrtGetLastError(code: number, message: number): number
  _OrtCreateSessionOptions(
    optimisation: number,
    arena: boolean,
    memoryPattern: boolean,
    mode: number,
    profile: boolean,
    profilePrefix: number,
    logId: number,
    logLevel: number,
    verbosity: number,
    modelPath: number,
  ): number
  _OrtAddSessionConfigEntry(options: number, key: number, value: number): number
  _OrtReleaseSessionOptions(options: number): number
  _OrtCreateSession(
    model: number,
    bytes: number,
    options: number,
  ): number | Promise<number>
  _OrtReleaseSession(session: number): number
  /** Inputs come first. The element type of a tensor is the first number of `metadata`. */
  _OrtGetInputOutputMetadata(
    session: number,
    index: number,
    name: number,
    metadata: number,
  ): number
  _OrtCreateTensor(
    type: number,
    data: number,
    bytes: number,
    dims: number,
    rank: number,
    location: number,
  ): number
  _OrtGetTensorData(
    tensor: number,
    type: number,
    data: number,
    dims: number,
    rank: number,
  ): number
  _OrtReleaseTensor(tensor: number): number
  _OrtRun(
    session: number,
    inputNames: number,
    inputs: number,
    inputCount: number,
    outputNames: number,
    outputCount: number,
    outputs: number,
    options: number,
  ): number | Promise<number>
  _OrtFree(address: number): number
}

/** The default export of the module file. */
export type HeapFactory = (settings: {
  readonly numThreads: number
  readonly instantiateWasm: (
    imports: WebAssembly.Imports,
    receive: (instance: WebAssembly.Instance, module: WebAssembly.Module) => void,
  ) => void
}) => Promise<unknown>

const functions = [
  ...([
    'getValue',
    'setValue',
    'UTF8ToString',
    'stringToUTF8',
    'lengthBytesUTF8',
  ] as const),
  ...(['stackSave', 'stackRestore', 'stackAlloc', '_malloc', '_free'] as const),
  ...([
    'mountExternalData',
    'unmountExternalData',
    '_OrtInit',
    '_OrtGetLastError',
  ] as const),
  ...(['_OrtCreateSessionOptions', '_OrtAddSessionConfigEntry'] as const),
  ...(['_OrtReleaseSessionOptions', '_OrtCreateSession', '_OrtReleaseSession'] as const),
  ...(['_OrtCreateTensor', '_OrtGetTensorData', '_OrtReleaseTensor', '_OrtRun'] as const),
  ...(['_OrtGetInputOutputMetadata', '_OrtFree'] as const),
]
const heapModule = v.custom<HeapModule>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    'HEAPU8' in value &&
    value.HEAPU8 instanceof Uint8Array &&
    'memory' in value &&
    value.memory instanceof WebAssembly.Memory &&
    functions.every((name) => typeof Reflect.get(value, name) === 'function'),
)

const factoryModule = v.object({
  default: v.custom<HeapFactory>((value) => typeof value === 'function'),
})

/** @param url of `onnxruntime-web/ort-wasm-simd-threaded.mjs` */
export async function importFactory(url: string): Promise<HeapFactory> {
  const module: unknown = await import(/* @vite-ignore */ url)
  return v.parse(factoryModule, module).default
}

/**
 * Starts the runtime; once per worker.
 * @param compiled `ort-wasm-simd-threaded.wasm`
 * @throws Error where the module is another version's.
 */
export async function startModule(
  factory: HeapFactory,
  threads: number,
  compiled: WebAssembly.Module,
): Promise<HeapModule> {
  const started = await new Promise<unknown>((resolve, reject) => {
    let memory: WebAssembly.Memory | undefined
    const instantiateWasm: Parameters<HeapFactory>[0]['instantiateWasm'] = (
      imports,
      receive,
    ) => {
      memory = Object.values(imports)
        .flatMap((names) => Object.values(names))
        .find((value) => value instanceof WebAssembly.Memory)
      WebAssembly.instantiate(compiled, imports).then((instance) => {
        receive(instance, compiled)
      }, reject)
    }
    factory({ numThreads: threads, instantiateWasm }).then((module) => {
      resolve(Object.assign(module as object, { memory }))
    }, reject)
  })
  const module = v.parse(heapModule, started)
  const LOG_ERRORS = 3
  if (module._OrtInit(threads, LOG_ERRORS) !== 0) throwLastError(module)
  return module
}

/** @throws Error with the runtime's own message */
export function throwLastError(module: HeapModule): never {
  const stack = module.stackSave()
  try {
    const at = module.stackAlloc(8)
    module._OrtGetLastError(at, at + 4)
    const message = module.getValue(at + 4, '*')
    throw new Error(message ? module.UTF8ToString(message) : 'ONNX Runtime failed')
  } finally {
    module.stackRestore(stack)
  }
}

/** The heap as it is now: it moves when it grows. */
export function heap(module: HeapModule): Uint8Array {
  // Reading a value makes the module notice growth that another thread caused.
  module.getValue(0, 'i8')
  return module.HEAPU8
}

/** @throws RangeError where memory ran out */
export function allocate(module: HeapModule, bytes: number): number {
  const address = module._malloc(Math.max(bytes, 1))
  if (address === 0) throw new RangeError(`failed to allocate ${bytes} bytes`)
  return address
}

export function allocateText(module: HeapModule, text: string): number {
  const room = module.lengthBytesUTF8(text) + 1
  const address = allocate(module, room)
  module.stringToUTF8(text, address, room)
  return address
}
