/** The shards worker without the worker: tests run it as it ships. */
import { MAX_SHARD_BYTES } from '../../model-split/manifest.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import { addressesOf, folderUrl, wantedFiles } from './cut-folder.ts'
import type { Network } from './download.ts'
import { ShardError } from './errors.ts'
import { fetchFiles } from './fetch-files.ts'
import { Intake } from './intake.ts'
import type { Lock } from './locks.ts'
import { openModel, storedManifest } from './open-model.ts'
import type { ShardStore } from './store.ts'
import type { ShardsApi } from './types.ts'

export interface ShardsDependencies {
  readonly store: ShardStore
  readonly network: Network
  readonly lock: Lock
  /** navigator.storage, where the browser has it. */
  readonly storage: Pick<StorageManager, 'estimate' | 'persisted'> | undefined
  /** What relative model addresses refer to. */
  readonly base: string | undefined
}

/** All of the API but `connect`, which needs a worker. */
export function createShardsApi(
  dependencies: ShardsDependencies,
): Omit<ShardsApi, 'connect'> {
  const { store, network, lock, storage, base } = dependencies
  /** Manifests of this session, which also serve where the disk is too full to keep one. */
  const opened = new Map<string, Manifest>()
  const jobs = new Map<string, AbortController>()

  const estimate = async () => (await storage?.estimate().catch(() => undefined)) ?? {}
  const room = async () => {
    if (store.kind === 'memory') return null
    const { quota, usage } = await estimate()
    return quota === undefined || quota === 0 ? null : quota - (usage ?? 0)
  }
  const open = async (url: string) => {
    const folder = folderUrl(url, base)
    const manifest = await openModel(folder, store, network)
    opened.set(folder, manifest)
    return manifest
  }

  return {
    open,
    async fetch({ id, url, shards }, onProgress) {
      jobs.get(id)?.abort(stopped())
      const job = new AbortController()
      jobs.set(id, job)
      try {
        const folder = folderUrl(url, base)
        const manifest = opened.get(folder) ?? (await open(url))
        const files = wantedFiles(manifest, folder, shards)
        const { signal } = job
        const options = { files, store, network, lock, room, onProgress, signal }
        const fetchedBytes = await fetchFiles(options)
        await store.prune(folder)
        return { fetchedBytes }
      } finally {
        if (jobs.get(id) === job) jobs.delete(id)
      }
    },
    cancel(id) {
      jobs.get(id)?.abort(stopped())
    },
    async has(shards) {
      const sizes = await Promise.all(shards.map((sha256) => store.size(sha256)))
      return shards.filter((_, index) => sizes[index] !== undefined)
    },
    get: (sha256) => store.get(sha256),
    discard: (sha256) => store.discard(sha256),
    async manifest(url) {
      const folder = folderUrl(url, base)
      return opened.get(folder) ?? (await storedManifest(folder, store))
    },
    async storage() {
      const { quota, usage } = await estimate()
      const models = await store.models()
      return {
        kind: store.kind,
        persisted: (await storage?.persisted().catch(() => false)) ?? false,
        usedBytes: usage ?? 0,
        quotaBytes: quota ?? 0,
        models: await Promise.all(
          models.map(async ({ url, name, addresses }) => {
            const sizes = await Promise.all(
              addresses.map((address) => store.size(address)),
            )
            return { url, name, bytes: sizes.reduce<number>((a, b) => a + (b ?? 0), 0) }
          }),
        ),
      }
    },
    async remove(url) {
      const folder = folderUrl(url, base)
      opened.delete(folder)
      await store.removeModel(folder)
    },
    async put(sha256, bytes) {
      const known = [...opened.values()].find((each) =>
        addressesOf(each).includes(sha256),
      )
      const limit = known?.shards[sha256]?.bytes ?? MAX_SHARD_BYTES
      const stream = bytes instanceof ReadableStream ? bytes : new Blob([bytes]).stream()
      await lock(sha256, new AbortController().signal, async () => {
        const intake = await Intake.begin(store, sha256, limit)
        if (intake === 'complete') {
          await stream.cancel()
          return
        }
        await intake.restart()
        if (!(await pour(stream, intake)) || !(await intake.finish())) {
          await store.discard(sha256)
          throw new ShardError(
            'wrong-hash',
            `A device of the room sent wrong bytes for shard ${sha256.slice(0, 12)}…; it is fetched from elsewhere.`,
          )
        }
      })
    },
  }
}

/** @returns false where more comes than the intake may take. */
async function pour(stream: ReadableStream<Uint8Array>, intake: Intake) {
  const reader = stream.getReader()
  for (;;) {
    const part = await reader.read()
    if (part.done) return true
    if ((await intake.write(part.value)) < part.value.byteLength) {
      await reader.cancel()
      return false
    }
  }
}

function stopped(): DOMException {
  return new DOMException('The download was stopped.', 'AbortError')
}
