/** Links of a fake room that a story has cut and not mended yet. */
import type { FakeRoom } from './fake-room.ts'

export class CutLinks {
  readonly #room: FakeRoom
  /** Oldest first. */
  readonly #pairs = new Set<string>()

  constructor(room: FakeRoom) {
    this.#room = room
  }

  cut(a: string | undefined, b: string | undefined): void {
    if (a === undefined || b === undefined || a === b) return
    this.#pairs.add([a, b].sort().join())
    this.#room.cut(a, b)
  }

  mendOne(): void {
    const [pair] = this.#pairs
    if (pair === undefined) return
    this.#pairs.delete(pair)
    const [a = '', b = ''] = pair.split(',')
    this.#room.connect(a, b)
  }

  mendAll(): void {
    while (this.#pairs.size > 0) this.mendOne()
  }

  /** A device that is gone has no links. */
  forget(id: string): void {
    for (const pair of this.#pairs)
      if (pair.split(',').includes(id)) this.#pairs.delete(pair)
  }
}
