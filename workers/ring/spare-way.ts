/**
 * The second way of a link: unordered, and nothing on it is sent again. Signs of life on it tell
 * both ends whether packets get lost. While they do, every small frame goes this way too, as a
 * copy: the one that was lost need not wait to be sent again, which takes a round trip or more.
 *
 * A sign is 3 bytes: number u16 (little endian), 1 if signs of the other end were missed lately.
 */
import type { Wire } from './link-port.ts'

export const SIGN_BYTES = 3
/** So long after a missed sign the link counts as one that loses packets, ms. */
const LOSSY_MS = 20_000
/** One of so many signs is answered, by the end that sends none of its own. */
const ANSWERED = 8
const NUMBERS = 0x1_0000

export interface SpareWayOptions {
  now(): number
  /** A slice of a copy. */
  onCopy(slice: Uint8Array): void
}

export class SpareWay {
  readonly #wire: Wire
  readonly #options: SpareWayOptions
  #sent = 0
  /** Number of the newest sign that came; the first is 0. */
  #heard = NUMBERS - 1
  #unanswered = 0
  #missedAt = -Infinity
  /** When the other end last said that it misses signs. */
  #toldAt = -Infinity

  constructor(wire: Wire, options: SpareWayOptions) {
    this.#wire = wire
    this.#options = options
    wire.onMessage = (message) => {
      if (message.byteLength === SIGN_BYTES) this.#hear(message)
      else options.onCopy(message)
    }
  }

  /** Whether copies are worth their bytes: packets to the other end get lost. */
  get lossy(): boolean {
    return this.#options.now() - this.#toldAt < LOSSY_MS
  }

  /** A sign of life; false if this way isn't open, or full. */
  sign(): boolean {
    const message = new Uint8Array(SIGN_BYTES)
    const view = new DataView(message.buffer)
    view.setUint16(0, this.#sent, true)
    view.setUint8(2, this.#options.now() - this.#missedAt < LOSSY_MS ? 1 : 0)
    if (!this.#send(message)) return false
    this.#sent = (this.#sent + 1) % NUMBERS
    return true
  }

  copy(slice: Uint8Array): void {
    this.#send(slice)
  }

  close(): void {
    this.#wire.close()
  }

  #hear(message: Uint8Array): void {
    const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
    const number = view.getUint16(0, true)
    const ahead = (number - this.#heard + NUMBERS) % NUMBERS
    // What is half of all numbers ahead was overtaken.
    if (ahead > 0 && ahead < NUMBERS / 2) {
      if (ahead > 1) this.#missedAt = this.#options.now()
      this.#heard = number
    }
    if (view.getUint8(2) !== 0) this.#toldAt = this.#options.now()
    if (++this.#unanswered < ANSWERED) return
    this.#unanswered = 0
    this.sign()
  }

  #send(message: Uint8Array): boolean {
    if (!this.#wire.ready()) return false
    try {
      this.#wire.send(message)
      return true
    } catch {
      // It is closing. The link itself tells that it is lost.
      return false
    }
  }
}
