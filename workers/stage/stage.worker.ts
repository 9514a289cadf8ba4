/**
 * The stage worker. Small by itself: a runtime is fetched only once it is chosen, the store
 * only once a model is open.
 */
import { expose, proxy, wrap } from 'comlink'
import { probeGpu } from '../probe/probe.ts'
import { systemClock } from '../ring/clock.ts'
import { systemClock as probeClock } from '../shards/clock.ts'
import type { ShardsApi, ShardSource } from '../shards/types.ts'
import type { OpenOptions, StageApi } from './api.ts'
import type { StageParts, WantedEngine } from './load-layouts.ts'
import { StageService } from './stage-service.ts'
import { StageError, type Engine } from './types.ts'

/** What the worker offers beyond the stage itself. */
export interface StageWorkerApi extends StageApi {
  /**
   * A port on which a shards worker was exposed (`ShardsApi.connect`): it is read from then
   * on, and fetches what rotted. Without it this worker opens the store itself, which is
   * another one where the browser denies IndexedDB. Call it before `prepare`.
   */
  readShardsFrom(port: MessagePort): Promise<void>
}

let shards: ReturnType<typeof wrap<ShardsApi>> | null = null

const parts: StageParts = {
  clock: systemClock,

  async engine({ kind, mode, threads }: WantedEngine): Promise<Engine> {
    if (kind === 'wasm') {
      const [{ createWasmEngine }, { loadWasmRuntime }, { browserHelpers }] =
        await Promise.all([
          import('./engine-wasm.ts'),
          import('./ort-wasm.ts'),
          import('./int8-helpers.ts'),
        ])
      // Threads of the runtime and of the products would wait for one another's cores.
      const isLean = mode === 'lean'
      const runtime = await loadWasmRuntime(isLean ? 1 : threads)
      return createWasmEngine({ runtime, helpers: browserHelpers(isLean ? threads : 1) })
    }
    const [{ createWebGpuEngine }, { loadWebGpuRuntime }] = await Promise.all([
      import('./engine-webgpu.ts'),
      import('./ort-webgpu.ts'),
    ])
    const runtime = await loadWebGpuRuntime()
    if (!runtime) throw new StageError('device-lost', 'The graphics chip does not start.')
    return createWebGpuEngine({ ort: runtime.ort, device: await runtime.openDevice() })
  },

  async webgpuMissing({ engine, manifest }) {
    const gpu: GPU | undefined = 'gpu' in navigator ? navigator.gpu : undefined
    // Not a part of this file, as the WebGPU engine shares it: see vite.config.ts.
    const { whyNotWebGpu } = await import('./webgpu-fit.ts')
    const report = await probeGpu(gpu, probeClock)
    return whyNotWebGpu(report, manifest, engine === 'webgpu')
  },

  async reader({ manifest, url }: OpenOptions) {
    const { createShardReader } = await import('../shards/reader.ts')
    const remote = shards
    if (!remote) return createShardReader({ manifest, source: await ownStore() })
    const source: Pick<ShardSource, 'get' | 'discard'> = {
      get: (sha256) => remote.get(sha256),
      discard: (sha256) => remote.discard(sha256),
    }
    const refetch = async (sha256: string): Promise<void> => {
      const job = { id: `stage-${sha256}`, url, shards: [sha256] }
      await remote.fetch(
        job,
        proxy(() => undefined),
      )
    }
    return createShardReader({ manifest, source, refetch })
  },
}

async function ownStore(): Promise<Pick<ShardSource, 'get' | 'discard'>> {
  const { openStore } = await import('../shards/open-store.ts')
  return openStore()
}

class StageWorker extends StageService implements StageWorkerApi {
  readShardsFrom(port: MessagePort): Promise<void> {
    shards = wrap<ShardsApi>(port)
    return Promise.resolve()
  }
}

expose(new StageWorker(parts))
