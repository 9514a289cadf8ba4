/**
 * The engine for graphics processors. It has a GPUDevice of its own: destroying that is the
 * only way to free a session's weights while another one lives (onnxruntime-web 1.30).
 */
import type { InferenceSession, Tensor } from 'onnxruntime-common'
import type { LinkedSpan } from '../../model-split/link/link.ts'
import type { Backend, BackendSession, RunRequest } from './backend.ts'
import { runsOfLayers } from './divide.ts'
import { StageEngine, type EngineOptions } from './engine.ts'
import { GpuCaches } from './gpu-caches.ts'
import { gpuType, GpuTensors } from './gpu-tensors.ts'
import type { Ort } from './ort-tensors.ts'
import { externalBytes, sumOf } from './onnx-fields.ts'
import { cachesAreShareable } from './shared-caches.ts'
import { Mutex } from './stage-errors.ts'
import { StageError, type Engine } from './types.ts'
import { usesHalf } from './webgpu-fit.ts'

/**
 * Weights go to the graphics processor without a copy in the WASM heap; this bounds what
 * JavaScript holds meanwhile.
 */
const SESSION_BYTES = 384 * 2 ** 20

/** The runtime creates or runs one session at a time. */
const queues = new WeakMap<Ort, Mutex>()

export interface WebGpuOptions extends EngineOptions {
  /** From `onnxruntime-web/jspi` or `/webgpu`: see `loadWebGpuRuntime`. */
  readonly ort: Ort
  /** The engine's own; it is destroyed with the engine. */
  readonly device: GPUDevice
  readonly sessionBytes?: number
}

export function createWebGpuEngine(options: WebGpuOptions): Engine {
  return new StageEngine(webGpuBackend(options), options)
}

function webGpuBackend(options: WebGpuOptions): Backend<GpuCaches, Tensor> {
  const { ort, device, sessionBytes = SESSION_BYTES } = options
  const queue = queues.get(ort) ?? new Mutex()
  queues.set(ort, queue)
  const guard = new DeviceGuard(device)
  const tensors = new GpuTensors(ort, device)
  return {
    kind: 'webgpu',
    tensors: {
      upload: (tensor) => tensors.upload(tensor),
      slice: (tensor, ...range) => tensors.slice(tensor, ...range),
      download: (tensor) => guard.during(() => tensors.download(tensor)),
      dispose: (tensor) => {
        tensor.dispose()
      },
    },
    divide: (manifest, span, mode) => runsOfLayers(manifest, span, mode, sessionBytes),
    check: (manifest) => {
      if (usesHalf(manifest) && !device.features.has('shader-f16'))
        throw new StageError(
          'bad-model',
          'The graphics chip does not compute in 16 bits as this model does.',
        )
    },
    open: (linked, weights) =>
      queue.run(async () => {
        const session = await guard.during(() =>
          ort.InferenceSession.create(linked.model, {
            executionProviders: [{ name: 'webgpu', device }],
            externalData: weights.map(({ path, data }) => ({ path, data })),
            preferredOutputLocation: locations(linked),
            // Shape arithmetic on the CPU is no reason for a warning in everybody's console.
            logSeverityLevel: 3,
          }),
        )
        return webGpuSession(guard, queue, linked, session)
      }),
    caches: (caches) => new GpuCaches(device, tensors, caches),
    close: () => {
      guard.expectLoss()
      device.destroy()
      return Promise.resolve()
    },
  }
}

/** Caches and hidden states stay on the device. */
function locations({ caches, given }: LinkedSpan): Record<string, 'gpu-buffer'> {
  const states = Object.keys(given).filter((name) =>
    /^float(?:16|32)$/.test(given[name] ?? ''),
  )
  const onGpu = caches.filter(({ dtype }) => gpuType(dtype) !== null)
  const names = [...states, ...onGpu.map(({ output }) => output)]
  return Object.fromEntries(names.map((name) => [name, 'gpu-buffer'] as const))
}

function webGpuSession(
  guard: DeviceGuard,
  queue: Mutex,
  { model, caches, given }: LinkedSpan,
  session: InferenceSession,
): BackendSession<GpuCaches, Tensor> {
  const inPlace =
    cachesAreShareable(model, caches) && caches.every((c) => gpuType(c.dtype))

  const run = async ({
    inputs,
    kept,
    size,
  }: RunRequest<GpuCaches, Tensor>): Promise<Map<string, Tensor>> => {
    const feeds = new Map(inputs)
    for (const each of kept)
      for (const [name, tensor] of each.before(size, inPlace)) feeds.set(name, tensor)
    const fetches = new Map(kept.flatMap((each) => each.targets(inPlace)))
    for (const name in given) fetches.set(name, null)
    const results = await guard.during(() =>
      session.run(Object.fromEntries(feeds), Object.fromEntries(fetches)),
    )
    for (const each of kept) each.after(results, inPlace)
    return new Map(Object.entries(results).filter(([name]) => name in given))
  }
  return {
    weights: sumOf(externalBytes(model).values()),
    run: (request) => queue.run(() => run(request)),
    release: () => queue.run(() => session.release()),
  }
}

/** Turns what the device says on the side into errors of the work that caused it. */
class DeviceGuard {
  readonly #lost: Promise<never>
  #fault: StageError | null = null
  #expected = false

  constructor(private readonly device: GPUDevice) {
    this.#lost = device.lost.then(({ message }) => {
      if (this.#expected) return new Promise<never>(() => undefined)
      this.#fault = new StageError(
        'device-lost',
        'The graphics processor stopped working; load the model again.',
        { cause: message },
      )
      throw this.#fault
    })
    // Nobody may be waiting.
    this.#lost.catch(() => undefined)
    device.addEventListener('uncapturederror', ({ error }) => {
      this.#fault ??=
        error instanceof GPUOutOfMemoryError
          ? new StageError(
              'out-of-memory',
              'The graphics processor ran out of memory; give this device fewer layers.',
              { cause: error.message },
            )
          : new StageError(
              'wrong-result',
              'The graphics chip refused a part of the model.',
              { cause: error.message },
            )
    })
  }

  expectLoss(): void {
    this.#expected = true
  }

  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#check()
    try {
      return await Promise.race([work(), this.#lost])
    } catch (error) {
      // The runtime may fail of it before the loss is told; a round trip later it is known.
      const roundTrip = this.device.queue.onSubmittedWorkDone()
      await Promise.race([roundTrip, this.#lost]).catch(() => undefined)
      throw error
    } finally {
      this.#check()
    }
  }

  #check(): void {
    if (this.#fault) throw this.#fault
  }
}
