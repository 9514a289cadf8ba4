/** The shards worker: exposes `ShardsApi` over comlink. */
import { expose } from 'comlink'
import { createShardsApi } from './api.ts'
import { systemClock } from './clock.ts'
import { createLock } from './locks.ts'
import { openStore } from './open-store.ts'
import type { ShardsApi } from './types.ts'

/** Opens the store late, so that a full or blocked one answers the first call with its error. */
function createWorkerApi(): ShardsApi {
  let api: Promise<Omit<ShardsApi, 'connect'>> | undefined
  const ready = () => {
    api ??= start().catch((error: unknown) => {
      api = undefined
      throw error
    })
    return api
  }
  const whole: ShardsApi = {
    open: async (url) => (await ready()).open(url),
    fetch: async (job, onProgress) => (await ready()).fetch(job, onProgress),
    cancel: (id) => {
      void api?.then((ready) => {
        ready.cancel(id)
      })
    },
    has: async (shards) => (await ready()).has(shards),
    get: async (sha256) => (await ready()).get(sha256),
    discard: async (sha256) => (await ready()).discard(sha256),
    manifest: async (url) => (await ready()).manifest(url),
    storage: async () => (await ready()).storage(),
    remove: async (url) => (await ready()).remove(url),
    put: async (sha256, bytes) => (await ready()).put(sha256, bytes),
    connect: (port) => {
      expose(whole, port)
    },
  }
  return whole
}

async function start() {
  // Either is missing outside secure contexts and in older browsers.
  const { storage, locks } = navigator as Partial<WorkerNavigator>
  return createShardsApi({
    store: await openStore(),
    network: {
      fetch: (url, init) => fetch(url, init),
      clock: systemClock,
      random: Math.random,
      origin: location.origin,
    },
    lock: createLock(locks),
    storage,
    base: location.href,
  })
}

if (typeof WorkerGlobalScope !== 'undefined' && self instanceof WorkerGlobalScope)
  expose(createWorkerApi())
