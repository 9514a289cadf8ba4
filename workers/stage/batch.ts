/**
 * Runs of several sequences through the same session, side by side: each keeps its own caches
 * and fails for itself, but their products with one matrix are one product, for which the
 * weights are read and converted once.
 */
import type { Int8Matrix } from './int8-matrix.ts'
import type { Rows } from './int8-team.ts'
import type { Mutex } from './stage-errors.ts'

export interface Product extends Rows {
  readonly matrix: Int8Matrix
}

interface Waiting {
  readonly products: readonly Product[]
  readonly go: () => void
  readonly fail: (error: Error) => void
}

export class Batch {
  /** One call of the runtime at a time. */
  readonly #runtime: Mutex
  /** Runs that are not over. */
  #running: number
  #waiting: Waiting[] = []

  constructor(runs: number, runtime: Mutex) {
    this.#running = runs
    this.#runtime = runtime
  }

  call<T>(work: () => Promise<T>): Promise<T> {
    return this.#runtime.run(work)
  }

  /** Computes them as soon as every run that is not over has come to its own. */
  multiply(products: readonly Product[]): Promise<void> {
    return new Promise((go, fail) => {
      this.#waiting.push({ products, go, fail })
      this.#meet()
    })
  }

  /** A run is over, or has failed: the others don't wait for it. */
  leave(): void {
    this.#running--
    this.#meet()
  }

  #meet(): void {
    if (this.#waiting.length < this.#running) return
    const waiting = this.#waiting
    this.#waiting = []
    const products = waiting.flatMap((each) => each.products)
    try {
      for (const matrix of new Set(products.map((one) => one.matrix)))
        matrix.multiply(products.filter((one) => one.matrix === matrix))
      for (const { go } of waiting) go()
    } catch (error) {
      for (const { fail } of waiting) fail(error as Error)
    }
  }
}
