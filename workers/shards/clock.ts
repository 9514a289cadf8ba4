/** Time, so that tests need none. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Rejects with the signal's reason when it is aborted. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (milliseconds, signal) =>
    new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const onAbort = () => {
        clearTimeout(timer)
        reject(reasonOf(signal))
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }, milliseconds)
      signal?.addEventListener('abort', onAbort, { once: true })
    }),
}

/** An abort reason is any value; errors are what can be thrown on. */
function reasonOf(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason
  return reason instanceof Error ? reason : new DOMException('Stopped.', 'AbortError')
}

/** Thrown by `within` when time is up. */
export class TimeUp extends Error {
  override readonly name = 'TimeUp'
}

/** Waits for `work`, but no longer than so many milliseconds. */
export async function within<T>(
  clock: Clock,
  milliseconds: number,
  work: Promise<T>,
): Promise<T> {
  const timer = new AbortController()
  try {
    return await Promise.race([
      work,
      clock.sleep(milliseconds, timer.signal).then(() => {
        throw new TimeUp(`nothing came for ${milliseconds} ms`)
      }),
    ])
  } finally {
    timer.abort()
  }
}
