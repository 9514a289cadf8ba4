/** Time as the room needs it; injected so that tests own it. */

export interface Clock {
  /** Milliseconds since a fixed, arbitrary moment; never goes back. */
  now(): number
  /** Calls once after `ms`; the result cancels. */
  after(ms: number, task: () => void): () => void
}

/** The runtime's own timers: throttled in hidden tabs, see worker-clock.ts. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, task) {
    const timer = setTimeout(task, ms)
    return () => clearTimeout(timer)
  },
}

/** Calls again and again, `ms` apart, until the result is called. */
export function every(clock: Clock, ms: number, task: () => void): () => void {
  let cancel = clock.after(ms, turn)
  let stopped = false
  function turn(): void {
    cancel = clock.after(ms, turn)
    if (!stopped) task()
  }
  return () => {
    stopped = true
    cancel()
  }
}

/** Resolves after `ms`, or at once when the signal is aborted. */
export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve()
      return
    }
    const end = (): void => {
      cancel()
      signal.removeEventListener('abort', end)
      resolve()
    }
    const cancel = clock.after(ms, end)
    signal.addEventListener('abort', end)
  })
}
