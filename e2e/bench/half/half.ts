/** The page of one stage by itself; see half.worker.ts. */
import { wrap } from 'comlink'
import type { Half } from './half.worker.ts'

const worker = new Worker(new URL('./half.worker.ts', import.meta.url), {
  type: 'module',
})
const half = wrap<Half>(worker)
Object.assign(window, { half })

declare global {
  interface Window {
    half: typeof half
  }
}
