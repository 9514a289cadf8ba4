/** Several files into the store, with one progress and one end. */
import { download } from './download.ts'
import type { Network, WantedFile } from './download.ts'
import { fullError, shardErrorCode } from './errors.ts'
import type { Lock } from './locks.ts'
import type { ShardStore } from './store.ts'
import type { FetchProgress } from './types.ts'

/** Files on their way at once: one fills the link, two hide the pauses between files. */
export const MAX_DOWNLOADS = 2
/** Progress is told no more often than this. */
const TELL_MS = 100

export interface FetchFilesOptions {
  readonly files: readonly WantedFile[]
  readonly store: ShardStore
  readonly network: Network
  readonly lock: Lock
  /** Free bytes for this origin, or null where the browser doesn't say. */
  readonly room: () => Promise<number | null>
  readonly onProgress: (progress: FetchProgress) => void
  readonly signal: AbortSignal
}

/**
 * Makes all files complete. The first error stops the rest; what has arrived is kept.
 * @returns bytes that came over the network.
 * @throws ShardError; the signal's reason.
 */
export async function fetchFiles(options: FetchFilesOptions): Promise<number> {
  const { files, store, network, lock, signal } = options
  signal.throwIfAborted()
  const here = new Map<string, number>()
  const todo: WantedFile[] = []
  for (const file of files) {
    if ((await store.size(file.sha256)) === file.bytes) {
      here.set(file.sha256, file.bytes)
    } else {
      here.set(file.sha256, Math.min(file.bytes, await store.partialSize(file.sha256)))
      todo.push(file)
    }
  }
  const total = files.reduce((sum, file) => sum + file.bytes, 0)
  const doneBytes = () => [...here.values()].reduce((sum, bytes) => sum + bytes, 0)
  const missing = () => total - doneBytes()
  const room = await options.room()
  if (room !== null && missing() > room) throw fullError('the model', missing() - room)

  let fetched = 0
  let most = 0
  let told = -Infinity
  const tell = (always: boolean) => {
    const now = network.clock.now()
    if (!always && now - told < TELL_MS) return
    told = now
    // A file that begins anew must not make the bar run backwards.
    most = Math.max(most, doneBytes())
    options.onProgress({ doneBytes: most, totalBytes: total, fetchedBytes: fetched })
  }
  tell(true)

  const stop = new AbortController()
  const onAbort = () => {
    stop.abort(signal.reason)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  const lane = async () => {
    for (let file = todo.shift(); file !== undefined; file = todo.shift()) {
      const { sha256 } = file
      const wanted = file
      await lock(sha256, stop.signal, () =>
        download(
          wanted,
          store,
          network,
          (bytes, came) => {
            here.set(sha256, bytes)
            fetched += came
            tell(false)
          },
          stop.signal,
        ),
      )
    }
  }
  try {
    const lanes = Array.from({ length: MAX_DOWNLOADS }, async () => {
      try {
        await lane()
      } catch (error) {
        stop.abort(error)
        throw error
      }
    })
    // All lanes have ended before this does: nobody writes to the store afterwards.
    const failed = (await Promise.allSettled(lanes)).some(
      (end) => end.status === 'rejected',
    )
    signal.throwIfAborted()
    // The reason is the first lane's error; the others only say that they were stopped.
    if (failed) throw stop.signal.reason
  } catch (error) {
    throw shardErrorCode(error) === 'full'
      ? fullError('the model', missing(), error)
      : error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
  tell(true)
  return fetched
}
