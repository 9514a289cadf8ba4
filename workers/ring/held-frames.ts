/** Frames of a plan that is not active here yet. */
import type { Frame } from './frame.ts'

const MOST_FRAMES = 256
const MOST_BYTES = 16 * 2 ** 20

interface Held {
  readonly device: string
  readonly frame: Frame
}

export class HeldFrames {
  #held: Held[] = []
  #bytes = 0

  /** The oldest go first where there are too many. */
  add(device: string, frame: Frame): void {
    this.#held.push({ device, frame })
    this.#bytes += frame.payload.byteLength
    while (this.#held.length > MOST_FRAMES || this.#bytes > MOST_BYTES)
      this.#bytes -= this.#held.shift()?.frame.payload.byteLength ?? 0
  }

  take(): readonly Held[] {
    const held = this.#held
    this.#held = []
    this.#bytes = 0
    return held
  }
}
