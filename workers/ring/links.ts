/** The frame links of this device, by device at the other end. They outlive plans. */
import type { Clock } from './clock.ts'
import { LinkPort, type Wire } from './link-port.ts'

/** Between two signs of life on an idle link while a sequence runs through this device. */
const KEEP_ALIVE_MS = 10
/** So long after the newest frame a sequence counts as running. */
const AWAKE_MS = 1000
/** Before a model is open only small frames are taken, and dropped. */
const FIRST_FRAME_BYTES = 4096

export interface LinksListener {
  onFrame(device: string, frame: Uint8Array): void
  onUp(device: string): void
  onDown(device: string): void
}

export class Links {
  readonly #clock: Clock
  readonly #ports = new Map<string, LinkPort>()
  /** Spare ways that came before their link. */
  readonly #early = new Map<string, Wire>()
  #listener: LinksListener | null = null
  #mostFrameBytes = FIRST_FRAME_BYTES
  #awakeUntil = -Infinity
  #awake: ReadonlySet<string> = new Set()
  #cancelTick: (() => void) | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Whom frames go to, and how large they may be. */
  listen(listener: LinksListener, mostFrameBytes: number): void {
    this.#listener = listener
    this.#mostFrameBytes = mostFrameBytes
    for (const port of this.#ports.values()) port.limit(mostFrameBytes)
  }

  connect(device: string, wire: Wire): void {
    this.#ports.get(device)?.close()
    this.#open(device, wire)
    this.#listener?.onUp(device)
  }

  /** A second way to that device, on which messages may get lost. */
  connectSpare(device: string, wire: Wire): void {
    // A link that has one already is about to be replaced by the one to which this belongs.
    if (this.#ports.get(device)?.addSpare(wire)) return
    this.#early.get(device)?.close()
    this.#early.set(device, wire)
  }

  disconnect(device: string): void {
    this.#early.get(device)?.close()
    this.#early.delete(device)
    const port = this.#ports.get(device)
    if (!port) return
    port.close()
    this.#ports.delete(device)
    this.#listener?.onDown(device)
  }

  has(device: string): boolean {
    return this.#ports.has(device)
  }

  send(device: string, frame: Uint8Array, lane: number): boolean {
    return this.#ports.get(device)?.send(frame, lane) ?? false
  }

  /** A sequence runs through here: keeps the radio towards these devices awake for a while. */
  keepAwake(devices: ReadonlySet<string>): void {
    this.#awake = devices
    this.#awakeUntil = this.#clock.now() + AWAKE_MS
    this.#cancelTick ??= this.#clock.after(KEEP_ALIVE_MS, () => this.#tick())
  }

  close(): void {
    this.#cancelTick?.()
    this.#cancelTick = null
    this.#awakeUntil = -Infinity
    for (const port of [...this.#ports.values(), ...this.#early.values()]) port.close()
    this.#ports.clear()
    this.#early.clear()
  }

  #open(device: string, wire: Wire): void {
    const port: LinkPort = new LinkPort(wire, {
      mostFrameBytes: this.#mostFrameBytes,
      now: () => this.#clock.now(),
      onFrame: (frame) => this.#listener?.onFrame(device, frame),
      onDown: () => {
        if (this.#ports.get(device) === port) this.disconnect(device)
      },
    })
    this.#ports.set(device, port)
    const spare = this.#early.get(device)
    this.#early.delete(device)
    if (spare) port.addSpare(spare)
  }

  #tick(): void {
    this.#cancelTick = null
    if (this.#clock.now() >= this.#awakeUntil) return
    for (const device of this.#awake) this.#ports.get(device)?.keepAlive(KEEP_ALIVE_MS)
    this.#cancelTick = this.#clock.after(KEEP_ALIVE_MS, () => this.#tick())
  }
}
