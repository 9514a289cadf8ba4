/**
 * The stage worker. Small by itself: a runtime is fetched only once it is chosen, the store
 * only once a model is open.
 */
import { expose, proxy, wrap } from 'comlink'
import { systemClock } from '../ring/clock.ts'
import type { ShardsApi, ShardSource } from '../shards/types.ts'
import type { OpenOptions, StageApi } from './api.ts'
import type { StageParts } from './load-part.ts'
import { StageService } from './stage-service.ts'
import { StageError, type Engine, type EngineKind } from './types.ts'

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

  async engine(kind: EngineKind, threads: number): Promise<Engine> {
    if (kind === 'wasm') {
      const [{ createWasmEngine }, { loadWasmRuntime }] = await Promise.all([
        import('./engine-wasm.ts'),
        import('./ort-wasm.ts'),
      ])
      return createWasmEngine({ runtime: await loadWasmRuntime(threads) })
    }
    const [{ createWebGpuEngine }, { loadWebGpuRuntime }] = await Promise.all([
      import('./engine-webgpu.ts'),
      import('./ort-webgpu.ts'),
    ])
    const runtime = await loadWebGpuRuntime()
    if (!runtime) throw new StageError('device-lost', NO_ADAPTER)
    return createWebGpuEngine({ ort: runtime.ort, device: await runtime.openDevice() })
  },

  async webgpuMissing() {
    const gpu: GPU | undefined = 'gpu' in navigator ? navigator.gpu : undefined
    if (!gpu) return 'This browser has no WebGPU; the phone computes without it.'
    const adapter = await gpu.requestAdapter().catch(() => null)
    return adapter ? null : NO_ADAPTER
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

const NO_ADAPTER = 'This phone offers no graphics processor; it computes without it.'

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
