/** The text worker: exposes `TextApi` over comlink. */
import { expose, wrap } from 'comlink'
import { folderUrl } from '../shards/cut-folder.ts'
import { storedManifest } from '../shards/open-model.ts'
import { openStore } from '../shards/open-store.ts'
import type { ShardsApi, ShardSource } from '../shards/types.ts'
import { createTextApi } from './api.ts'
import type { TextApi } from './types.ts'

let source: Promise<ShardSource> | undefined

async function ownStore(): Promise<ShardSource> {
  const store = await openStore()
  return {
    get: (sha256) => store.get(sha256),
    discard: (sha256) => store.discard(sha256),
    manifest: (url) => storedManifest(folderUrl(url, location.href), store),
  }
}

const api: TextApi = {
  ...createTextApi(() => {
    source ??= ownStore().catch((error: unknown) => {
      source = undefined
      throw error
    })
    return source
  }),
  connect(port) {
    const shards = wrap<ShardsApi>(port)
    source = Promise.resolve({
      get: (sha256) => shards.get(sha256),
      discard: (sha256) => shards.discard(sha256),
      manifest: (url) => shards.manifest(url),
    })
  },
}

if (typeof WorkerGlobalScope !== 'undefined' && self instanceof WorkerGlobalScope)
  expose(api)
