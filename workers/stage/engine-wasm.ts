/**
 * The engine for every browser: onnxruntime-web's WASM kernels. Caches live in JavaScript
 * and go through the runtime on each run.
 */
import type { InferenceSession, Tensor } from 'onnxruntime-common'
import type { LinkedSpan } from '../../model-split/link/link.ts'
import type { Cache } from '../../model-split/manifest.ts'
import type { Backend, BackendSession, RunRequest, RunResult } from './backend.ts'
import { StageEngine, type EngineOptions } from './engine.ts'
import { fromOrt, toOrt, type Ort } from './ort-tensors.ts'
import { emptyCache } from './session-inputs.ts'
import { Mutex } from './stage-errors.ts'
import { slice } from './tensors.ts'
import type { Engine, TensorData, WeightMode } from './types.ts'
import type { WeightFile } from './weights.ts'

/** Loading holds one such part of the weights twice. */
const SESSION_BYTES = 96 * 2 ** 20

/** ONNX Runtime runs one call at a time, whichever session it is for. */
const queues = new WeakMap<Ort, Mutex>()

export interface WasmOptions extends EngineOptions {
  /** From `onnxruntime-web/wasm`, its environment set up before. */
  readonly ort: Ort
  readonly sessionBytes?: number
}

export function createWasmEngine(options: WasmOptions): Engine {
  return new StageEngine(wasmBackend(options), options)
}

type Kept = ReadonlyMap<string, TensorData>

function wasmBackend({ ort, sessionBytes = SESSION_BYTES }: WasmOptions): Backend<Kept> {
  const queue = queues.get(ort) ?? new Mutex()
  queues.set(ort, queue)
  return {
    kind: 'wasm',
    sessionBytes,
    open: (linked, weights, mode) =>
      queue.run(async () => {
        const options = sessionOptions(weights, mode)
        const session = await ort.InferenceSession.create(linked.model, options)
        return wasmSession(ort, queue, linked, session)
      }),
    close: () => Promise.resolve(),
  }
}

function sessionOptions(
  weights: readonly WeightFile[],
  mode: WeightMode,
): InferenceSession.SessionOptions {
  return {
    executionProviders: ['wasm'],
    externalData: weights.map(({ path, data }) => ({ path, data })),
    // Any higher level fuses DequantizeLinear and MatMul into MatMulNBits, ten times slower.
    graphOptimizationLevel: mode === 'lean' ? 'basic' : 'all',
  }
}

function wasmSession(
  ort: Ort,
  queue: Mutex,
  { caches, outputs, logits }: LinkedSpan,
  session: InferenceSession,
): BackendSession<Kept> {
  const given = logits === null ? outputs : [...outputs, logits]
  return {
    run: ({ inputs, kept, size }: RunRequest<Kept>): Promise<RunResult<Kept>> =>
      queue.run(async () => {
        const feeds: Record<string, Tensor> = {}
        for (const [name, tensor] of inputs) feeds[name] = toOrt(ort, tensor)
        for (const cache of caches)
          feeds[cache.input] = toOrt(ort, pastOf(cache, kept, size.past, size.batch))
        const results = await session.run(feeds)
        const take = (name: string): TensorData => {
          const tensor = results[name]
          if (!tensor) throw new Error(`output ${name} is missing`)
          return fromOrt(tensor)
        }
        return {
          outputs: new Map(given.map((name) => [name, take(name)])),
          kept: new Map(caches.map((cache) => [cache.input, take(cache.output)])),
        }
      }),
    bytes: (kept) =>
      [...kept.values()].reduce((sum, { bytes }) => sum + bytes.byteLength, 0),
    dispose: () => undefined,
    release: () => queue.run(() => session.release()),
  }
}

/** The first `past` rows of a cache. */
function pastOf(
  cache: Cache,
  kept: Kept | null,
  past: number,
  batch: number,
): TensorData {
  const tensor = kept?.get(cache.input)
  if (!tensor) return emptyCache(cache, batch)
  return cache.axis === null ? tensor : slice(tensor, cache.axis, 0, past)
}
