/** The engine for every browser: ONNX Runtime's WASM kernels, caches in the WASM heap. */
import type { LinkedSpan } from '../../model-split/link/link.ts'
import type { Backend, BackendSession, RunRequest, SharedTables } from './backend.ts'
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
import type { Engine, TensorData } from './types.ts'
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

function wasmBackend({ runtime, helpers }: WasmOptions): Backend<HeapCaches> {
  const tensorsOf = new WeakMap<SharedTables, NamedTensors>()
  const queue = queues.get(runtime) ?? new Mutex()
  queues.set(runtime, queue)
  let team: Promise<Int8Team> | null = null
  const openLean = async (
    { model }: LinkedSpan,
    weights: readonly WeightFile[],
  ): Promise<LeanSession> => {
    team ??= Int8Team.start(runtime, helpers)
    return LeanSession.open(runtime, model, weights, await team)
  }
  return {
    kind: 'wasm',
    // A session call costs 0.02 ms; in return a layer is loaded, kept and freed by itself.
    divide: (_, span) => layerByLayer(span),
    open: (linked, weights, mode, tables) =>
      queue.run(async () => {
        const session =
          mode === 'lean'
            ? await openLean(linked, weights)
            : await HeapSession.open(runtime, linked.model, weights, {
                optimisation: 'all',
              })
        const lent = tables.flatMap((each) => [...(tensorsOf.get(each) ?? [])])
        return wasmSession(runtime, queue, linked, session, new Map(lent))
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

function wasmSession(
  runtime: HeapModule,
  queue: Mutex,
  { model, caches, outputs, logits }: LinkedSpan,
  session: HeapSession | LeanSession,
  tables: NamedTensors,
): BackendSession<HeapCaches> {
  const given = logits === null ? outputs : [...outputs, logits]
  const inPlace = cachesAreShareable(model, caches)

  const run = async ({
    inputs: fed,
    kept,
    size,
    batch,
  }: RunRequest<HeapCaches>): Promise<Map<string, TensorData>> => {
    const passing: HeapTensor[] = []
    try {
      const inputs = new Map(tables)
      for (const each of kept)
        for (const [name, tensor] of each.before(size, inPlace)) inputs.set(name, tensor)
      for (const [name, tensor] of fed) {
        const here = upload(runtime, tensor)
        passing.push(here)
        inputs.set(name, here)
      }
      const wanted = new Map(kept.flatMap((each) => each.targets(inPlace)))
      for (const name of given) wanted.set(name, null)
      const results = await session.run(inputs, wanted, batch)
      for (const each of kept) each.after(results)
      const found = new Map<string, TensorData>()
      for (const name of given) {
        const tensor = results.get(name)
        if (!tensor) continue
        passing.push(tensor)
        found.set(name, download(runtime, tensor))
      }
      return found
    } finally {
      for (const tensor of passing) disposeTensor(runtime, tensor)
    }
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
