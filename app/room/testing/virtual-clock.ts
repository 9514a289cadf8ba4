/** Time that moves only when a test says so. */
import type { Clock } from '../clock.ts'

interface Task {
  readonly due: number
  readonly order: number
  readonly run: () => void
}

/** Lets everything happen that needs no time. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 40; i += 1) await Promise.resolve()
}

export class VirtualClock implements Clock {
  #now = 0
  #order = 0
  readonly #tasks = new Set<Task>()

  now(): number {
    return this.#now
  }

  after(ms: number, run: () => void): () => void {
    const task = { due: this.#now + Math.max(0, ms), order: (this.#order += 1), run }
    this.#tasks.add(task)
    return () => this.#tasks.delete(task)
  }

  /** Runs all that is due within `ms`, each at its own moment. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    await settle()
    for (let task = this.#next(end); task; task = this.#next(end)) {
      this.#tasks.delete(task)
      this.#now = Math.max(this.#now, task.due)
      task.run()
      await settle()
    }
    this.#now = end
  }

  /** Time passes while nothing runs, as when a phone sleeps; what is due runs late. */
  sleep(ms: number): Promise<void> {
    this.#now += ms
    return this.advance(0)
  }

  /** Moves on in small steps until the condition holds. */
  async until(what: string, holds: () => boolean, limitMs = 60_000): Promise<void> {
    const end = this.#now + limitMs
    await settle()
    while (!holds()) {
      if (this.#now >= end) throw new Error(`Not within ${limitMs} ms: ${what}`)
      await this.advance(50)
    }
  }

  #next(end: number): Task | null {
    let first: Task | null = null
    for (const task of this.#tasks)
      if (
        task.due <= end &&
        (!first ||
          task.due < first.due ||
          (task.due === first.due && task.order < first.order))
      )
        first = task
    return first
  }
}
