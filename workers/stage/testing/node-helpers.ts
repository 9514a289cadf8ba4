/** Threads of Node that help with products: for tests. */
import { Worker } from 'node:worker_threads'
import type { Helpers } from '../int8-team.ts'

// Node 20 reads TypeScript through tsx only, which a thread has to ask for itself.
const SCRIPT = `
  const { workerData: { url, start } } = require('node:worker_threads')
  import('tsx/esm/api')
    .then(({ tsImport }) => tsImport(url, url))
    .then(({ help }) => help(start))
`

export function nodeHelpers(count: number): Helpers {
  const url = new URL('../int8-team.ts', import.meta.url).href
  return {
    count,
    start(start) {
      const worker = new Worker(SCRIPT, { eval: true, workerData: { url, start } })
      return () => void worker.terminate()
    },
  }
}
