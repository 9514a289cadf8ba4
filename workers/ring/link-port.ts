/**
 * Frames over one link: a data channel that lives here, or a port on which the page relays.
 * Big frames let small ones of other sequences pass: slices of different lanes take turns.
 */
import { SpareWay } from './spare-way.ts'
import {
  isWhole,
  KEEP_ALIVE,
  Reassembler,
  SLICE_HEADER_BYTES,
  slicesOf,
} from './slices.ts'

/** For what can wait: goes only while all other lanes and the wire are empty. */
export const BULK_LANE = -1

/** What a link can do. Messages are at most MOST_SLICE_BYTES long. */
export interface Wire {
  /** False until it is open and while its buffer is full; `onReady` follows. */
  ready(): boolean
  /** Whether next to nothing waits in its buffer; else `onReady` follows once it is so. */
  idle(): boolean
  /** Only while `ready()`. */
  send(message: Uint8Array): void
  close(): void
  onReady: () => void
  onMessage: (message: Uint8Array) => void
  /** It closed by itself. */
  onClosed: () => void
}

/**
 * What a data channel's buffer takes. A chunk of a prompt must fit in one go: nothing is handed
 * on while this worker computes the next one.
 */
const HIGH_WATER_BYTES = 2 ** 20
/**
 * So much of what can wait may wait in it, where a small frame waits behind it: some ms of a
 * usual link. A tab that is slow hears late that there is room, so less makes copies take long.
 */
const LOW_WATER_BYTES = 64 * 2 ** 10
/** Frames that wait for a link; a room whose stages are this far apart has lost the link. */
const MOST_QUEUED_BYTES = 64 * 2 ** 20

export function channelWire(channel: RTCDataChannel): Wire {
  channel.binaryType = 'arraybuffer'
  channel.bufferedAmountLowThreshold = LOW_WATER_BYTES
  const wire: Wire = {
    ready: () =>
      channel.readyState === 'open' && channel.bufferedAmount <= HIGH_WATER_BYTES,
    idle: () => channel.bufferedAmount <= LOW_WATER_BYTES,
    // Slices are made for sending: their buffer is theirs alone.
    send: (message) => channel.send(message as Uint8Array<ArrayBuffer>),
    close: () => channel.close(),
    onReady: () => undefined,
    onMessage: () => undefined,
    onClosed: () => undefined,
  }
  channel.onopen = () => wire.onReady()
  channel.onbufferedamountlow = () => wire.onReady()
  channel.onclose = () => wire.onClosed()
  channel.onmessage = ({ data }: MessageEvent<unknown>) => {
    if (data instanceof ArrayBuffer) wire.onMessage(new Uint8Array(data))
  }
  return wire
}

/** Each message is an ArrayBuffer with one slice, in both directions. */
export function portWire(port: MessagePort): Wire {
  const wire: Wire = {
    ready: () => true,
    idle: () => true,
    send(message) {
      const own = message.slice()
      port.postMessage(own.buffer, [own.buffer])
    },
    close: () => port.close(),
    onReady: () => undefined,
    onMessage: () => undefined,
    onClosed: () => undefined,
  }
  port.onmessage = ({ data }: MessageEvent<unknown>) => {
    if (data instanceof ArrayBuffer) wire.onMessage(new Uint8Array(data))
  }
  return wire
}

export function wireOf(link: RTCDataChannel | MessagePort): Wire {
  return 'readyState' in link ? channelWire(link) : portWire(link)
}

export interface LinkPortOptions {
  readonly mostFrameBytes: number
  now(): number
  onFrame(frame: Uint8Array): void
  onDown(): void
}

type State = 'up' | 'down'

export class LinkPort {
  readonly #wire: Wire
  readonly #options: LinkPortOptions
  #in: Reassembler
  /** Slices that wait, by lane; lanes take turns. No empty lanes. */
  readonly #lanes = new Map<number, Generator<Uint8Array, void>[]>()
  #queuedBytes = 0
  #numbers = 0
  #sentAt = -Infinity
  #spare: SpareWay | null = null
  #state: State = 'up'

  constructor(wire: Wire, options: LinkPortOptions) {
    this.#wire = wire
    this.#options = options
    this.#in = new Reassembler(options.mostFrameBytes)
    wire.onReady = () => this.#flush()
    wire.onMessage = (message) => {
      const frame = this.#state === 'up' ? this.#in.add(message) : null
      if (frame) options.onFrame(frame)
    }
    wire.onClosed = () => this.#down()
  }

  get state(): State {
    return this.#state
  }

  /** A model was opened: its frames may be so large. Incomplete ones are forgotten. */
  limit(mostFrameBytes: number): void {
    this.#in = new Reassembler(mostFrameBytes)
  }

  /** Another way to the same device, on which messages may get lost; false: there is one. */
  addSpare(wire: Wire): boolean {
    if (this.#spare) return false
    this.#spare = new SpareWay(wire, {
      now: () => this.#options.now(),
      onCopy: (slice) => {
        const frame = this.#state === 'up' ? this.#in.addCopy(slice) : null
        if (frame) this.#options.onFrame(frame)
      },
    })
    return true
  }

  /** Frames of one lane keep their order. */
  send(frame: Uint8Array, lane: number): boolean {
    if (this.#state === 'down') return false
    if (this.#queuedBytes + frame.byteLength > MOST_QUEUED_BYTES) {
      this.#down()
      return false
    }
    const slices = slicesOf(frame, this.#numbers++)
    const queue = this.#lanes.get(lane)
    if (queue) queue.push(slices)
    else this.#lanes.set(lane, [slices])
    this.#queuedBytes += frame.byteLength
    this.#flush()
    return true
  }

  /** A sign of life, if nothing was sent for `idleMs`: a radio that sleeps answers late. */
  keepAlive(idleMs: number): void {
    const now = this.#options.now()
    if (this.#state === 'down' || now - this.#sentAt < idleMs || !this.#wire.ready())
      return
    this.#sentAt = now
    // One that is lost must not hold up what comes behind it.
    if (!this.#spare?.sign()) this.#try(KEEP_ALIVE)
  }

  close(): void {
    if (this.#state === 'down') return
    this.#state = 'down'
    this.#lanes.clear()
    this.#spare?.close()
    this.#wire.close()
  }

  #flush(): void {
    while (this.#state === 'up' && this.#wire.ready()) {
      const lane = [...this.#lanes.keys()].find((each) => each !== BULK_LANE) ?? BULK_LANE
      const queue = this.#lanes.get(lane)
      if (!queue || (lane === BULK_LANE && !this.#wire.idle())) return
      this.#lanes.delete(lane)
      const slice = queue[0]?.next()
      if (slice?.done === false) {
        this.#queuedBytes -= slice.value.byteLength - SLICE_HEADER_BYTES
        this.#sentAt = this.#options.now()
        this.#try(slice.value)
        // Behind others a copy could overtake them.
        const isNext = this.#lanes.size === 0 && queue.length === 1
        if (isNext && this.#spare?.lossy && isWhole(slice.value))
          this.#spare.copy(slice.value)
      } else queue.shift()
      if (queue.length > 0) this.#lanes.set(lane, queue)
    }
  }

  #try(message: Uint8Array): void {
    try {
      this.#wire.send(message)
    } catch {
      // A channel that closes between two events throws; its frames are lost either way.
      this.#down()
    }
  }

  #down(): void {
    if (this.#state === 'down') return
    this.close()
    this.#options.onDown()
  }
}
