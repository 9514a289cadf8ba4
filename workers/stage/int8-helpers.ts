/** Threads of the browser that help with products. */
import type { Helpers } from './int8-team.ts'

/** @param threads in all; more than one takes effect only where the page is isolated. */
export function browserHelpers(threads: number): Helpers {
  return {
    count: self.crossOriginIsolated ? Math.max(0, threads - 1) : 0,
    start(start) {
      // Vite bundles a worker only where it is written this way.
      const worker = new Worker(new URL('./int8-helper.worker.ts', import.meta.url), {
        type: 'module',
        name: 'products',
      })
      worker.postMessage(start)
      return () => {
        worker.terminate()
      }
    },
  }
}
