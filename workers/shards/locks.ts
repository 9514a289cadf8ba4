/** One download of a file at a time, in this worker and across tabs. */

/** Runs `work` while nobody else holds the name. */
export type Lock = <T>(
  name: string,
  signal: AbortSignal,
  work: () => Promise<T>,
) => Promise<T>

/** Web Locks where the browser has them, else a queue within this worker. */
export function createLock(manager: LockManager | undefined): Lock {
  if (manager === undefined) return createLocalLock()
  return async (name, signal, work) => {
    // The manager's promise would lose the type of what `work` gives.
    const result: { value?: Awaited<ReturnType<typeof work>> } = {}
    await manager.request(`choir-shard-${name}`, { signal }, async () => {
      result.value = await work()
    })
    if (!('value' in result)) throw new DOMException('Stopped.', 'AbortError')
    return result.value
  }
}

function createLocalLock(): Lock {
  const tails = new Map<string, Promise<unknown>>()
  return async (name, signal, work) => {
    const before = tails.get(name) ?? Promise.resolve()
    const mine = before.then(() => {
      signal.throwIfAborted()
      return work()
    })
    const tail = mine.catch(() => undefined)
    tails.set(name, tail)
    try {
      return await mine
    } finally {
      if (tails.get(name) === tail) tails.delete(name)
    }
  }
}
