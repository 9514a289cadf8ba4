/** The engine for every browser: ONNX Runtime's WASM kernels, caches in the WASM heap. */
import type { LinkedSpan } from '../../model-split/link/link.ts'
import { loadAttentionKernel, type AttentionKernel } from './attention-kernel.ts'
import type {
  Backend,
  BackendSession,
  HeldTensors,
  RunRequest,
  SharedTables,
} from './backend.ts'
import { Batch } from './batch.ts'
import { layerByLayer } from './divide.ts'
import { StageEngine, type EngineOptions } from './engine.ts'
import { HeapCaches } from './heap-caches.ts'
import type { HeapModule } from './heap-module.ts'
import {
  disposeTensor,
  download,
  HeapSession,
  upload,
  type HeapTensor,
} from './heap-session.ts'
import { Int8Team, type Helpers } from './int8-team.ts'
import { LeanSession } from './lean-session.ts'
import { cachesAreShareable } from './shared-caches.ts'
import { Mutex } from './stage-errors.ts'
import { slice } from './tensors.ts'
import type { Engine } from './types.ts'
import type { WeightFile } from './weights.ts'

/** The runtime runs one call at a time, whichever session it is for. */
const queues = new WeakMap<HeapModule, Mutex>()

export interface WasmOptions extends EngineOptions {
  /** From `startModule` (Node) or `loadWasmRuntime` (browser); engines may share it. */
  readonly runtime: HeapModule
  /** Threads for products with int8 weights, beside the one that calls; absent: none. */
  readonly helpers?: Helpers
}

export function createWasmEngine(options: WasmOptions): Engine {
  return new StageEngine(wasmBackend(options), options)
}

type NamedTensors = ReadonlyMap<string, HeapTensor>

function wasmBackend({ runtime, helpers }: WasmOptions): Backend<HeapCaches, HeapTensor> {
  const tensorsOf = new WeakMap<SharedTables, NamedTensors>()
  const queue = queues.get(runtime) ?? new Mutex()
  queues.set(runtime, queue)
  let team: Promise<Int8Team> | null = null
  let attention: Promise<AttentionKernel> | null = null
  const openLean = async (
    { model }: LinkedSpan,
    weights: readonly WeightFile[],
    inPlace: boolean,
  ): Promise<LeanSession> => {
    team ??= Int8Team.start(runtime, helpers)
    attention ??= loadAttentionKernel(runtime.memory)
    const tools = { team: await team, attention: await attention }
    return LeanSession.open(runtime, model, weights, { ...tools, inPlace })
  }
  return {
    kind: 'wasm',
    tensors: heapTensors(runtime),
    // A session call costs 0.02 ms; in return a layer is loaded, kept and freed by itself.
    divide: (_, span) => layerByLayer(span),
    open: (linked, weights, mode, tables) =>
      queue.run(async () => {
        const inPlace = cachesAreShareable(linked.model, linked.caches)
        const session =
          mode === 'lean'
            ? await openLean(linked, weights, inPlace)
            : await HeapSession.open(runtime, linked.model, weights, {
                optimisation: 'all',
              })
        const lent = tables.flatMap((each) => [...(tensorsOf.get(each) ?? [])])
        return wasmSession(queue, linked, session, { tables: new Map(lent), inPlace })
      }),
    share: (weights) => {
      const tensors = new Map<string, HeapTensor>()
      for (const [name, tensor] of weights) tensors.set(name, upload(runtime, tensor))
      const tables = {
        release: () => {
          for (const tensor of tensors.values()) disposeTensor(runtime, tensor)
        },
      }
      tensorsOf.set(tables, tensors)
      return tables
    },
    batch: (mode, runs) => (mode === 'lean' ? new Batch(runs, queue) : null),
    caches: (caches) => new HeapCaches(runtime, caches),
    close: async () => {
      const started = await team
      started?.close()
    },
  }
}

function heapTensors(runtime: HeapModule): HeldTensors<HeapTensor> {
  return {
    upload: (tensor) => upload(runtime, tensor),
    slice: (tensor, ...range) =>
      upload(runtime, slice(download(runtime, tensor), ...range)),
    download: (tensor) => Promise.resolve(download(runtime, tensor)),
    dispose: (tensor) => {
      disposeTensor(runtime, tensor)
    },
  }
}

function wasmSession(
  queue: Mutex,
  { given }: LinkedSpan,
  session: HeapSession | LeanSession,
  { tables, inPlace }: { readonly tables: NamedTensors; readonly inPlace: boolean },
): BackendSession<HeapCaches, HeapTensor> {
  const run = async ({
    inputs: fed,
    kept,
    size,
    batch,
  }: RunRequest<HeapCaches, HeapTensor>): Promise<Map<string, HeapTensor>> => {
    const inputs = new Map([...tables, ...fed])
    for (const each of kept)
      for (const [name, tensor] of each.before(size, inPlace)) inputs.set(name, tensor)
    const wanted = new Map(kept.flatMap((each) => each.targets(inPlace)))
    for (const name in given) wanted.set(name, null)
    const results = await session.run(inputs, wanted, batch)
    for (const each of kept) each.after(results)
    return new Map([...results].filter(([name]) => name in given))
  }
  return {
    weights: session.weights,
    // The runs of a batch wait for one another, and take turns at the runtime by themselves.
    run: (request) => (request.batch ? run(request) : queue.run(() => run(request))),
    release: () =>
      queue.run(() => {
        session.release()
        return Promise.resolve()
      }),
  }
}
