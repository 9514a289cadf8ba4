/**
 * Questions that a new starter keeps until the starter before has handed their sequences over,
 * so that nothing that is in the caches is read in again.
 */
import type { Clock } from './clock.ts'
import type { AskMessage, StateMessage } from './messages.ts'
import type { Starter } from './starter.ts'

/** A starter that has not handed over by then will not, ms. */
const WAIT_MS = 15_000

export class Succession {
  readonly #starter: Starter
  /** The starter before. */
  readonly device: string
  readonly #asks = new Map<
    number,
    { readonly device: string; readonly ask: AskMessage }
  >()
  readonly #cancel: () => void
  #isOpen = true

  constructor(starter: Starter, device: string, clock: Clock) {
    this.#starter = starter
    this.device = device
    this.#cancel = clock.after(WAIT_MS, () => this.end())
  }

  ask(device: string, sequence: number, ask: AskMessage): void {
    if (this.#isOpen && !this.#starter.knows(sequence))
      this.#asks.set(sequence, { device, ask })
    else this.#starter.ask(device, sequence, ask)
  }

  state(sequence: number, state: StateMessage): void {
    if (!this.#isOpen) return
    this.#starter.adopt(sequence, state)
    this.#take(sequence)
  }

  /** Nothing more is handed over. */
  end(): void {
    this.#isOpen = false
    this.#cancel()
    for (const sequence of [...this.#asks.keys()]) this.#take(sequence)
  }

  close(): void {
    this.#asks.clear()
    this.end()
  }

  #take(sequence: number): void {
    const asked = this.#asks.get(sequence)
    this.#asks.delete(sequence)
    if (asked) this.#starter.ask(asked.device, sequence, asked.ask)
  }
}
