/** The engine for every browser: ONNX Runtime's WASM kernels, caches in the WASM heap. */
import type { LinkedSpan } from '../../model-split/link/link.ts'
import type { Backend, BackendSession, RunRequest, RunResult } from './backend.ts'
import { StageEngine, type EngineOptions } from './engine.ts'
import { FreshCaches, SharedCaches, type HeapCaches } from './heap-caches.ts'
import type { HeapModule } from './heap-module.ts'
import {
  disposeTensor,
  download,
  HeapSession,
  upload,
  type HeapTensor,
} from './heap-session.ts'
import { cachesAreShareable } from './shared-caches.ts'
import { Mutex } from './stage-errors.ts'
import type { Engine, TensorData } from './types.ts'

/** Loading holds one such part of the weights twice. */
const SESSION_BYTES = 96 * 2 ** 20

/** The runtime runs one call at a time, whichever session it is for. */
const queues = new WeakMap<HeapModule, Mutex>()

export interface WasmOptions extends EngineOptions {
  /** From `startModule` (Node) or `loadWasmRuntime` (browser); engines may share it. */
  readonly runtime: HeapModule
  readonly sessionBytes?: number
}

export function createWasmEngine(options: WasmOptions): Engine {
  return new StageEngine(wasmBackend(options), options)
}

function wasmBackend({
  runtime,
  sessionBytes = SESSION_BYTES,
}: WasmOptions): Backend<HeapCaches> {
  const queue = queues.get(runtime) ?? new Mutex()
  queues.set(runtime, queue)
  return {
    kind: 'wasm',
    sessionBytes,
    open: (linked, weights, mode) =>
      queue.run(async () => {
        // Any higher level fuses DequantizeLinear and MatMul into MatMulNBits, ten times slower.
        const optimisation = mode === 'lean' ? 'basic' : 'all'
        const session = await HeapSession.open(runtime, linked.model, weights, {
          optimisation,
        })
        return wasmSession(runtime, queue, linked, session)
      }),
    close: () => Promise.resolve(),
  }
}

function wasmSession(
  runtime: HeapModule,
  queue: Mutex,
  { model, caches, outputs, logits }: LinkedSpan,
  session: HeapSession,
): BackendSession<HeapCaches> {
  const given = logits === null ? outputs : [...outputs, logits]
  const shared = cachesAreShareable(model, caches)
  const create = (): HeapCaches =>
    shared ? new SharedCaches(runtime, caches) : new FreshCaches(runtime, caches)

  const run = async (request: RunRequest<HeapCaches>): Promise<RunResult<HeapCaches>> => {
    const kept = request.kept ?? create()
    const passing: HeapTensor[] = []
    try {
      const inputs = new Map(kept.before(request.size))
      for (const [name, tensor] of request.inputs) {
        const here = upload(runtime, tensor)
        passing.push(here)
        inputs.set(name, here)
      }
      const wanted = new Map(kept.targets())
      for (const name of given) wanted.set(name, null)
      const results = await session.run(inputs, wanted)
      kept.after(results)
      const found = new Map<string, TensorData>()
      for (const name of given) {
        const tensor = results.get(name)
        if (!tensor) continue
        passing.push(tensor)
        found.set(name, download(runtime, tensor))
      }
      return { outputs: found, kept }
    } catch (error) {
      if (request.kept === null) kept.dispose()
      throw error
    } finally {
      for (const tensor of passing) disposeTensor(runtime, tensor)
    }
  }
  return {
    run: (request) => queue.run(() => run(request)),
    bytes: (kept) => kept.bytes(),
    dispose: (kept) => {
      kept.dispose()
    },
    release: () =>
      queue.run(() => {
        session.release()
        return Promise.resolve()
      }),
  }
}
