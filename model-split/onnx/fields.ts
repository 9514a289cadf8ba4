/** Walks protobuf messages in a file of any size through a small window of it. */
import { Reader } from 'protobufjs/minimal.js'
import type { ModelSource } from '../source/source.ts'
import { ModelError } from './error.ts'

/** Bytes `[start, end)` of the file. */
export interface Extent {
  readonly start: number
  readonly end: number
}

/** One field of a message. `whole` includes its tag. */
export type Field = { readonly number: number; readonly whole: Extent } & (
  | { readonly wire: 'varint'; readonly value: bigint }
  | { readonly wire: 'fixed'; readonly value: number }
  | { readonly wire: 'bytes'; readonly payload: Extent }
)

const SMALLEST_WINDOW = 16 * 1024
const LARGEST_WINDOW = 2 ** 20
/** A tag takes at most 5 bytes and a varint 10. */
const LONGEST_HEAD = 15
const LONGEST_VARINT = 10
/** Numbers in a list of an attribute; longer ones are weights and lie in tensors. */
const LONGEST_LIST = 2 ** 20

const text = new TextDecoder()

export class MessageFile {
  readonly source: ModelSource
  readonly path: string
  readonly size: number
  #window: Uint8Array<ArrayBuffer> = new Uint8Array(0)
  #start = 0

  constructor(source: ModelSource, path: string, size: number) {
    this.source = source
    this.path = path
    this.size = size
  }

  get whole(): Extent {
    return { start: 0, end: this.size }
  }

  /** Calls `visit` for each field of the message that fills the extent, in order. */
  async each(
    message: Extent,
    visit: (field: Field) => Promise<void> | undefined,
  ): Promise<void> {
    let at = message.start
    while (at < message.end) {
      const head = Math.min(LONGEST_HEAD, message.end - at)
      if (!this.#covers(at, head)) await this.#load(at, head)
      const field = this.#field(at, message.end)
      const waiting = visit(field)
      if (waiting) await waiting
      at = field.whole.end
    }
  }

  /** The bytes of an extent, as a copy. */
  async bytes({ start, end }: Extent): Promise<Uint8Array<ArrayBuffer>> {
    const length = end - start
    if (!this.#covers(start, length)) {
      if (length > LARGEST_WINDOW) return this.source.read(this.path, start, length)
      await this.#load(start, length)
    }
    return this.#window.slice(start - this.#start, end - this.#start)
  }

  /** A name or a similarly short text. */
  async text(extent: Extent): Promise<string> {
    if (extent.end - extent.start > LARGEST_WINDOW) throw this.malformed(extent.start)
    return text.decode(await this.bytes(extent))
  }

  /** Reads ahead, so that what lies in a small extent comes with one request. */
  async ahead({ start, end }: Extent): Promise<void> {
    const length = end - start
    if (length <= LARGEST_WINDOW && !this.#covers(start, length))
      await this.#load(start, length)
  }

  /** The error for bytes that are no message. */
  malformed(at: number): ModelError {
    return new ModelError(
      `${this.path} is not a complete ONNX file: byte ${at} of ${this.size} makes no sense there; download or export it again.`,
    )
  }

  #covers(start: number, length: number): boolean {
    return start >= this.#start && start + length <= this.#start + this.#window.length
  }

  async #load(start: number, length: number): Promise<void> {
    // Nodes lie close together and are read in ever larger strides; a jump over weights
    // starts small again, so that a remote file costs little more than its graph.
    const windowEnd = this.#start + this.#window.length
    const goesOn = start >= this.#start && start <= windowEnd
    const stride = goesOn ? this.#window.length * 2 : SMALLEST_WINDOW
    const wanted = Math.max(length, Math.min(stride, LARGEST_WINDOW), SMALLEST_WINDOW)
    const got = Math.min(wanted, this.size - start)
    this.#window = await this.source.read(this.path, start, got)
    this.#start = start
  }

  #field(at: number, end: number): Field {
    const reader = new Reader(this.#window)
    reader.pos = at - this.#start
    reader.len = Math.min(reader.len, end - this.#start)
    try {
      const tag = reader.tag()
      const number = tag >>> 3
      if (number === 0) throw this.malformed(at)
      switch (tag & 7) {
        case 0: {
          const value = signed(reader)
          return { number, wire: 'varint', value, whole: this.#whole(at, reader, 0, end) }
        }
        case 1: {
          const value = reader.double()
          return { number, wire: 'fixed', value, whole: this.#whole(at, reader, 0, end) }
        }
        case 2: {
          // Not reader.size(): it stops at 2 GB, and a file may go on beyond.
          const length = Number(BigInt.asUintN(64, signed(reader)))
          const whole = this.#whole(at, reader, length, end)
          const payload = { start: whole.end - length, end: whole.end }
          return { number, wire: 'bytes', payload, whole }
        }
        case 5: {
          const value = reader.float()
          return { number, wire: 'fixed', value, whole: this.#whole(at, reader, 0, end) }
        }
        default:
          throw this.malformed(at)
      }
    } catch (error) {
      if (error instanceof ModelError) throw error
      throw this.malformed(at)
    }
  }

  #whole(at: number, reader: Reader, length: number, end: number): Extent {
    const whole = { start: at, end: this.#start + reader.pos + length }
    if (whole.end <= end) return whole
    throw new ModelError(
      `${this.path} is not a complete ONNX file: it should go on to byte ${whole.end} but ends at ${end}; download or export it again.`,
    )
  }
}

function lengthOf({ start, end }: Extent): number {
  return end - start
}

function signed(reader: Reader): bigint {
  const { low, high } = reader.int64()
  return (BigInt(high) << 32n) | BigInt(low >>> 0)
}

/** The integers of a repeated field, which may be packed or not. */
export async function integers(
  file: MessageFile,
  field: Field,
  most = LONGEST_LIST,
): Promise<bigint[]> {
  if (field.wire === 'varint') return [field.value]
  if (field.wire === 'fixed' || lengthOf(field.payload) > most * LONGEST_VARINT)
    throw file.malformed(field.whole.start)
  const reader = new Reader(await file.bytes(field.payload))
  const found: bigint[] = []
  try {
    while (reader.pos < reader.len) found.push(signed(reader))
  } catch {
    throw file.malformed(field.whole.start)
  }
  return found
}

/** The floats of a repeated field, which may be packed or not. */
export async function floats(file: MessageFile, field: Field): Promise<number[]> {
  if (field.wire === 'fixed') return [field.value]
  if (field.wire === 'varint' || lengthOf(field.payload) > LONGEST_LIST * 4)
    throw file.malformed(field.whole.start)
  const bytes = await file.bytes(field.payload)
  if (bytes.length % 4) throw file.malformed(field.whole.start)
  const view = new DataView(bytes.buffer)
  return Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(i * 4, true))
}

/** The extent of a field that must be text, bytes or a message. */
export function payload(file: MessageFile, field: Field): Extent {
  if (field.wire === 'bytes') return field.payload
  throw file.malformed(field.whole.start)
}

/** The value of a field that must be a single integer. */
export function integer(file: MessageFile, field: Field): number {
  if (field.wire === 'varint') return Number(field.value)
  throw file.malformed(field.whole.start)
}
