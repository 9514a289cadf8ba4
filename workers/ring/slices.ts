/**
 * Frames cut into messages of at most 4.6 KB: what a data channel's SCTP sends in one burst.
 * A message is frame number u32, index u16, count u16 (little endian), then bytes of the frame.
 * A message of one byte only keeps the radio awake and is ignored.
 */
export const SLICE_HEADER_BYTES = 8
export const MOST_SLICE_BYTES = 4600
const BODY_BYTES = MOST_SLICE_BYTES - SLICE_HEADER_BYTES
const MOST_SLICES = 0xffff
/** Frames that may be incomplete at a time on one link. */
const MOST_PARTIAL = 64
/** Numbers of complete frames that are remembered, against duplicates. */
const REMEMBERED = 256

export const KEEP_ALIVE = Uint8Array.of(0)

/** The messages of a frame, made one at a time. */
export function* slicesOf(
  frame: Uint8Array,
  number: number,
): Generator<Uint8Array, void> {
  const count = Math.max(1, Math.ceil(frame.byteLength / BODY_BYTES))
  if (count > MOST_SLICES) throw new RangeError('The frame has too many slices.')
  for (let index = 0; index < count; index++) {
    const body = frame.subarray(index * BODY_BYTES, (index + 1) * BODY_BYTES)
    const message = new Uint8Array(SLICE_HEADER_BYTES + body.byteLength)
    const view = new DataView(message.buffer)
    view.setUint32(0, number >>> 0, true)
    view.setUint16(4, index, true)
    view.setUint16(6, count, true)
    message.set(body, SLICE_HEADER_BYTES)
    yield message
  }
}

/** Whether a message is all of a frame. */
export function isWhole(message: Uint8Array): boolean {
  if (message.byteLength <= SLICE_HEADER_BYTES) return false
  return new DataView(message.buffer, message.byteOffset).getUint16(6, true) === 1
}

interface Partial {
  readonly parts: Map<number, Uint8Array>
  readonly count: number
}

/**
 * Puts slices of one link together. Holds what has arrived and no more; forgets the oldest
 * incomplete frame when it holds too much. Tolerates duplicates, loss and any order.
 */
export class Reassembler {
  readonly #mostFrameBytes: number
  readonly #partial = new Map<number, Partial>()
  readonly #done = new Set<number>()
  /** Number of the newest complete frame. */
  #newest: number | null = null
  #held = 0

  constructor(mostFrameBytes: number) {
    this.#mostFrameBytes = mostFrameBytes
  }

  /** Bytes of incomplete frames that are held now; at most twice the largest frame. */
  get held(): number {
    return this.#held
  }

  /**
   * A copy of a slice, by another way: taken only if it is a whole frame and the very next one,
   * so that it overtakes none.
   */
  addCopy(message: Uint8Array): Uint8Array | null {
    if (this.#newest === null || !isWhole(message)) return null
    const number = new DataView(message.buffer, message.byteOffset).getUint32(0, true)
    return number === (this.#newest + 1) >>> 0 ? this.add(message) : null
  }

  /** The frame that this message completes, or null. Never throws. */
  add(message: Uint8Array): Uint8Array | null {
    if (message.byteLength <= SLICE_HEADER_BYTES) return null
    const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
    const number = view.getUint32(0, true)
    const index = view.getUint16(4, true)
    const count = view.getUint16(6, true)
    const body = message.subarray(SLICE_HEADER_BYTES)
    if (count === 0 || index >= count || body.byteLength > BODY_BYTES) return null
    // All slices but the last one are full, so the count bounds the size.
    if ((count - 1) * BODY_BYTES + 1 > this.#mostFrameBytes) return null
    if (index < count - 1 && body.byteLength !== BODY_BYTES) return null
    if (this.#done.has(number)) return null
    if (count === 1) {
      if (body.byteLength > this.#mostFrameBytes) return null
      this.#forget(number)
      this.#remember(number)
      return body
    }
    const partial = this.#partial.get(number) ?? { parts: new Map(), count }
    if (partial.count !== count || partial.parts.has(index)) return null
    // A copy: the message's buffer may be larger than what is counted.
    partial.parts.set(index, body.slice())
    this.#partial.set(number, partial)
    this.#held += body.byteLength
    if (partial.parts.size === count) return this.#complete(number, partial)
    this.#bound()
    return null
  }

  #complete(number: number, { parts, count }: Partial): Uint8Array | null {
    const last = parts.get(count - 1)?.byteLength ?? 0
    const length = (count - 1) * BODY_BYTES + last
    this.#forget(number)
    this.#remember(number)
    if (length > this.#mostFrameBytes) return null
    const frame = new Uint8Array(length)
    for (const [index, part] of parts) frame.set(part, index * BODY_BYTES)
    return frame
  }

  #bound(): void {
    for (const number of this.#partial.keys()) {
      if (this.#held <= 2 * this.#mostFrameBytes && this.#partial.size <= MOST_PARTIAL)
        return
      this.#forget(number)
    }
  }

  #forget(number: number): void {
    const partial = this.#partial.get(number)
    if (!partial) return
    for (const part of partial.parts.values()) this.#held -= part.byteLength
    this.#partial.delete(number)
  }

  #remember(number: number): void {
    this.#done.add(number)
    if (this.#newest === null || ((number - this.#newest) | 0) > 0) this.#newest = number
    if (this.#done.size <= REMEMBERED) return
    const [oldest] = this.#done
    if (oldest !== undefined) this.#done.delete(oldest)
  }
}
