/**
 * Hidden states that leave for the same device in the same turn, as those of a batch do, are
 * one message: they arrive together, and can be a batch there again.
 */
import { concat } from '../../model-split/link/wire.ts'
import { encodeFrame, type Frame } from './frame.ts'

/** A message goes in the lane of its first frame's sequence. */
type Send = (device: string, message: Uint8Array, lane: number) => void

interface Waiting {
  readonly frames: Uint8Array[]
  readonly lane: number
  bytes: number
}

export class Outbox {
  readonly #send: Send
  readonly #mostBytes: number
  readonly #waiting = new Map<string, Waiting>()

  /** @param mostBytes of a message with several frames. */
  constructor(send: Send, mostBytes: number) {
    this.#send = send
    this.#mostBytes = mostBytes
  }

  /** Leaves at the end of this turn. */
  add(device: string, frame: Frame): void {
    const bytes = encodeFrame(frame)
    const before = this.#waiting.get(device)
    if (before && before.bytes + bytes.byteLength <= this.#mostBytes) {
      before.frames.push(bytes)
      before.bytes += bytes.byteLength
      return
    }
    if (before) this.#flush(device, before)
    const fresh = { frames: [bytes], lane: frame.sequence, bytes: bytes.byteLength }
    this.#waiting.set(device, fresh)
    queueMicrotask(() => this.#flush(device, fresh))
  }

  #flush(device: string, waiting: Waiting): void {
    if (this.#waiting.get(device) !== waiting) return
    this.#waiting.delete(device)
    const { frames, lane } = waiting
    const [first] = frames
    if (first) this.#send(device, frames.length > 1 ? concat(frames) : first, lane)
  }
}
