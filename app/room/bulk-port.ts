/**
 * Shards from one room mate to another, over the `bulk` channel of their link. Both ends may
 * ask; one shard at a time in each direction. What arrives is proven by its hash only, by
 * whoever stores it. See docs/protocol.md.
 */
import * as v from 'valibot'
import { MAX_SHARD_BYTES } from '../../model-split/manifest.ts'
import type { Clock } from './clock.ts'

/** The part of a data channel that is used; messages are texts and ArrayBuffers. */
export interface BulkChannel {
  readonly readyState: RTCDataChannelState
  readonly bufferedAmount: number
  bufferedAmountLowThreshold: number
  onopen: ((event: Event) => void) | null
  onmessage: ((event: MessageEvent<unknown>) => void) | null
  onbufferedamountlow: ((event: Event) => void) | null
  onclose: ((event: Event) => void) | null
  send(data: string | ArrayBuffer): void
  close(): void
}

export interface BulkOptions {
  readonly clock: Clock
  /** A complete shard of the own store, or undefined. */
  readonly read: (sha256: string) => Promise<Blob | undefined>
}

/** Bytes of one message, and what may wait in the browser's buffer: frames share the link. */
const CHUNK_BYTES = 16 * 1024
const HIGH_WATER_BYTES = 64 * 1024
/** Read from the store at a time. */
const BLOCK_BYTES = 1024 * 1024
/** A room mate that sends nothing for so long is not waited for, ms. */
const STALL_MS = 10_000
const LONGEST_TEXT = 200
/** Smaller transfers tell more of the round trip than of the bandwidth. */
const MEASURED_BYTES = 512 * 1024

const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const message = v.variant('type', [
  /** I lack this shard. */
  v.strictObject({ type: v.literal('want'), sha256 }),
  /** It is here: so many bytes follow, as binary messages, then `end`. */
  v.strictObject({
    type: v.literal('here'),
    bytes: v.pipe(count, v.maxValue(MAX_SHARD_BYTES)),
  }),
  /** It is not here, or could not be read to its end. */
  v.strictObject({ type: v.literal('lack') }),
  /** All has been sent, or as much as was wanted. */
  v.strictObject({ type: v.literal('end') }),
  /** Nothing more of it is wanted. */
  v.strictObject({ type: v.literal('enough') }),
])
type BulkMessage = v.InferOutput<typeof message>

interface Wanted {
  readonly sha256: string
  readonly limit: number
  readonly parts: ArrayBuffer[]
  readonly onBytes: (bytes: number) => void
  /** Null: the mate does not have it, stopped, or sent something else. */
  readonly settle: (blob: Blob | null) => void
  received: number
  /** What it says it will send, and since when; null before. */
  promised: number | null
  since: number
  cancelTimer: () => void
}

export class BulkPort {
  #wanted: Wanted | null = null
  /** The mate still sends what is not wanted any more. */
  #draining = false
  #sending = false
  #enough = false
  #wake: (() => void) | null = null
  #closed = false
  #bytesPerMs: number | null = null

  constructor(
    private readonly channel: BulkChannel,
    private readonly options: BulkOptions,
  ) {
    channel.bufferedAmountLowThreshold = HIGH_WATER_BYTES / 2
    channel.onmessage = ({ data }) => this.#hear(data)
    channel.onbufferedamountlow = () => this.#wake?.()
    channel.onclose = () => this.close()
  }

  /** Whether a shard can be asked for now. */
  get free(): boolean {
    const open = this.channel.readyState === 'open' && !this.#closed
    return open && this.#wanted === null && !this.#draining
  }

  /** How fast the newest large shard came from the mate; null before. */
  get bytesPerMs(): number | null {
    return this.#bytesPerMs
  }

  /**
   * Asks the mate for a shard.
   * @param bytes its size by the manifest.
   * @param onBytes told of every piece that arrives.
   * @returns its bytes, unproven; null where the mate does not give it.
   */
  want(
    sha256: string,
    bytes: number,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<Blob | null> {
    if (!this.free || signal.aborted) return Promise.resolve(null)
    return new Promise((resolve) => {
      const abort = (): void => this.#giveUp()
      this.#wanted = {
        sha256,
        limit: bytes,
        parts: [],
        onBytes,
        received: 0,
        promised: null,
        since: 0,
        cancelTimer: () => undefined,
        settle: (blob) => {
          signal.removeEventListener('abort', abort)
          resolve(blob)
        },
      }
      signal.addEventListener('abort', abort)
      this.#watch(this.#wanted)
      this.#send({ type: 'want', sha256 })
    })
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#settle(null)
    this.#wake?.()
    this.channel.onmessage = null
    this.channel.close()
  }

  #hear(data: unknown): void {
    if (this.#closed) return
    if (data instanceof ArrayBuffer) this.#take(data)
    else {
      const heard = parse(data)
      if (heard) this.#answer(heard)
      // Whoever sends rubbish here gets no second chance; shards come from elsewhere.
      else this.close()
    }
  }

  #answer(heard: BulkMessage): void {
    const wanted = this.#wanted
    switch (heard.type) {
      case 'want':
        void this.#serve(heard.sha256)
        return
      case 'enough':
        this.#enough = true
        this.#wake?.()
        return
      case 'here':
        if (this.#draining) return
        if (!wanted || wanted.promised !== null || heard.bytes !== wanted.limit) {
          this.close()
          return
        }
        wanted.promised = heard.bytes
        wanted.since = this.options.clock.now()
        this.#watch(wanted)
        return
      case 'lack':
      case 'end':
        if (this.#draining) this.#draining = false
        else if (wanted && complete(wanted)) {
          this.#measure(wanted)
          this.#settle(new Blob(wanted.parts))
        } else this.#settle(null)
    }
  }

  #take(data: ArrayBuffer): void {
    const wanted = this.#wanted
    if (this.#draining) return
    if (!wanted || wanted.received + data.byteLength > (wanted.promised ?? 0)) {
      this.close()
      return
    }
    wanted.parts.push(data)
    wanted.received += data.byteLength
    this.#watch(wanted)
    wanted.onBytes(data.byteLength)
  }

  #measure({ received, since }: Wanted): void {
    const ms = this.options.clock.now() - since
    if (received >= MEASURED_BYTES && ms > 0) this.#bytesPerMs = received / ms
  }

  #watch(wanted: Wanted): void {
    wanted.cancelTimer()
    wanted.cancelTimer = this.options.clock.after(STALL_MS, () => this.#giveUp())
  }

  /** The mate may still send; that is let go by until it says `end`. */
  #giveUp(): void {
    if (!this.#wanted) return
    this.#draining = true
    this.#send({ type: 'enough' })
    this.#settle(null)
  }

  #settle(blob: Blob | null): void {
    const wanted = this.#wanted
    this.#wanted = null
    wanted?.cancelTimer()
    wanted?.settle(blob)
  }

  async #serve(wanted: string): Promise<void> {
    // One at a time; who asks for more breaks the rules.
    if (this.#sending) {
      this.close()
      return
    }
    this.#sending = true
    this.#enough = false
    const whole = await this.#pour(wanted).catch(() => false)
    this.#sending = false
    this.#send({ type: whole ? 'end' : 'lack' })
  }

  /** @returns false where the shard is not here; throws where it cannot be read. */
  async #pour(wanted: string): Promise<boolean> {
    const blob = await this.options.read(wanted)
    if (!blob || this.#stopped()) return false
    this.#send({ type: 'here', bytes: blob.size })
    for (let at = 0; at < blob.size; at += BLOCK_BYTES) {
      const block = await blob.slice(at, at + BLOCK_BYTES).arrayBuffer()
      for (let from = 0; from < block.byteLength; from += CHUNK_BYTES) {
        await this.#drained()
        if (this.#stopped()) return true
        this.#send(block.slice(from, from + CHUNK_BYTES))
      }
    }
    return true
  }

  #stopped(): boolean {
    return this.#enough || this.#closed
  }

  #drained(): Promise<void> {
    if (this.channel.bufferedAmount <= HIGH_WATER_BYTES) return Promise.resolve()
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = null
        resolve()
      }
    })
  }

  #send(data: BulkMessage | ArrayBuffer): void {
    if (this.#closed || this.channel.readyState !== 'open') return
    try {
      this.channel.send(data instanceof ArrayBuffer ? data : JSON.stringify(data))
    } catch {
      // It closes at this moment: what it carried comes from elsewhere.
      this.close()
    }
  }
}

function complete({ received, promised }: Wanted): boolean {
  return promised !== null && received === promised
}

/** Null for what is no message. Never throws. */
function parse(data: unknown): BulkMessage | null {
  if (typeof data !== 'string' || data.length > LONGEST_TEXT) return null
  try {
    const result = v.safeParse(message, JSON.parse(data))
    return result.success ? result.output : null
  } catch {
    return null
  }
}
