/** Signalling and wires inside one process, with explicit queues and faults. */
import type { Clock } from '../clock.ts'
import {
  NetworkError,
  type FrameChannel,
  type Network,
  type Station,
  type StationEvents,
  type Wire,
  type WireEvents,
} from '../link.ts'
import type { Side } from '../proof.ts'
import type { BulkChannel } from '../bulk-port.ts'
import { FakeBulkChannel } from './fake-bulk.ts'

type FrameLabel = 'frames' | 'spare'

/** One end of a connection; what is sent arrives `latency` later, in order. */
export class FakeWire implements Wire {
  other: FakeWire | null = null
  /** Nothing gets through, and nobody is told. */
  muted = false
  /** Of this direction alone, ms; else the internet's. */
  latency: number | null = null
  readonly sent: string[] = []
  #events: WireEvents | null = null
  #early: unknown[] = []
  #arrival = 0
  #closed = false
  #over: boolean | null = null
  readonly #take = new Map<FrameLabel, (channel: FrameChannel) => void>()
  #takeBulk: ((channel: BulkChannel) => void) | null = null

  constructor(
    readonly side: Side,
    readonly remotePeer: string,
    readonly fingerprints: readonly string[],
    /** Host names of both ends. */
    readonly from: string,
    readonly to: string,
    private readonly net: FakeInternet,
  ) {}

  get closed(): boolean {
    return this.#closed
  }

  start(events: WireEvents): void {
    this.#events = events
    for (const data of this.#early.splice(0)) events.message(data)
    if (this.#over !== null) events.closed(this.#over)
  }

  send(text: string): void {
    if (this.#closed) return
    this.sent.push(text)
    this.#later(() => this.other?.receive(text))
  }

  frames(role: 'open' | 'await', take: (channel: FrameChannel) => void): void {
    this.#open('frames', role, take)
  }

  spare(role: 'open' | 'await', take: (channel: FrameChannel) => void): void {
    this.#open('spare', role, take)
  }

  #open(
    label: FrameLabel,
    role: 'open' | 'await',
    take: (channel: FrameChannel) => void,
  ): void {
    if (this.#closed) return
    const { port1, port2 } = new MessageChannel()
    this.net.ports.push(port1, port2)
    if (role === 'await') {
      this.#take.set(label, take)
      return
    }
    take(port1)
    this.#later(() => this.other?.arrive(label, port2))
  }

  bulk(role: 'open' | 'await', take: (channel: BulkChannel) => void): void {
    if (this.#closed) return
    if (role === 'await') {
      this.#takeBulk = take
      return
    }
    const [near, far] = FakeBulkChannel.pair((task) => this.#later(task))
    take(near)
    this.#later(() => this.other?.arriveBulk(far))
  }

  close(): void {
    if (this.#closed) return
    // What was sent before still arrives.
    this.#later(() => this.other?.end(true))
    this.#closed = true
    this.#events = null
  }

  receive(data: unknown): void {
    if (this.#closed) return
    if (this.#events) this.#events.message(data)
    else this.#early.push(data)
  }

  arrive(label: FrameLabel, channel: FrameChannel): void {
    if (!this.#closed) this.#take.get(label)?.(channel)
    this.#take.delete(label)
  }

  arriveBulk(channel: BulkChannel): void {
    if (!this.#closed) this.#takeBulk?.(channel)
    this.#takeBulk = null
  }

  end(clean: boolean): void {
    if (this.#closed || this.#over !== null) return
    this.#over = clean
    this.#events?.closed(clean)
  }

  #later(task: () => void): void {
    const { clock } = this.net
    // Whatever the latency, nothing overtakes.
    this.#arrival = Math.max(
      this.#arrival,
      clock.now() + (this.latency ?? this.net.latency()),
    )
    clock.after(this.#arrival - clock.now(), () => {
      if (!this.muted && !this.net.isCut(this.from, this.to)) task()
    })
  }
}

/** All hosts of a test and the server between them. */
export class FakeInternet {
  /** The signalling server. */
  up = true
  /** Pairs of hosts that cannot reach each other, though both reach the server. */
  isCut: (a: string, b: string) => boolean = () => false
  latency: () => number = () => 5
  readonly ports: MessagePort[] = []
  readonly wires: FakeWire[] = []
  readonly #stations = new Map<string, { host: string; events: StationEvents }>()
  /** Peer ids of devices that vanished: taken, but nobody answers. */
  readonly #zombies = new Set<string>()
  readonly #gone = new Set<string>()
  #fingerprints = 0

  constructor(readonly clock: Clock) {}

  network(host: string): Network {
    return {
      listen: async (peer, events, signal) => {
        await this.#pass(signal)
        if (!this.up || this.#gone.has(host)) throw new NetworkError('unreachable')
        if (this.#stations.has(peer) || this.#zombies.has(peer))
          throw new NetworkError('taken')
        this.#stations.set(peer, { host, events })
        return this.#station(host, peer)
      },
    }
  }

  /** The host is gone without a word; its peer ids stay taken. */
  vanish(host: string): void {
    this.#gone.add(host)
    for (const [peer, station] of this.#stations)
      if (station.host === host) {
        this.#stations.delete(peer)
        this.#zombies.add(peer)
      }
    for (const wire of this.wires)
      if (wire.from === host || wire.to === host) wire.muted = true
  }

  holdZombie(peer: string): void {
    this.#zombies.add(peer)
  }

  hostOf(peer: string): string | undefined {
    return this.#stations.get(peer)?.host
  }

  close(): void {
    for (const port of this.ports) port.close()
  }

  #station(host: string, peer: string): Station {
    return {
      peer,
      connect: async (remote, signal) => {
        await this.#pass(signal)
        if (!this.up || this.#gone.has(host)) throw new NetworkError('unreachable')
        if (this.#zombies.has(remote)) {
          await this.#pass(signal, 12_000)
          throw new NetworkError('silent')
        }
        const found = this.#stations.get(remote)
        if (!found) {
          await this.#pass(signal, 5000)
          throw new NetworkError('absent')
        }
        if (this.isCut(host, found.host)) {
          await this.#pass(signal, 12_000)
          throw new NetworkError('blocked')
        }
        const [caller, answerer] = this.pair(host, found.host, peer, remote)
        found.events.wire(answerer)
        return caller
      },
      close: () => {
        if (this.#stations.get(peer)?.host === host) this.#stations.delete(peer)
      },
    }
  }

  /** Two ends of a wire. */
  pair(from: string, to: string, fromPeer: string, toPeer: string): [FakeWire, FakeWire] {
    this.#fingerprints += 2
    const prints = [
      `sha-256 ${this.#fingerprints}:A`,
      `sha-256 ${this.#fingerprints + 1}:B`,
    ]
    const caller = new FakeWire('caller', toPeer, prints, from, to, this)
    const answerer = new FakeWire('answerer', fromPeer, prints, to, from, this)
    caller.other = answerer
    answerer.other = caller
    this.wires.push(caller, answerer)
    return [caller, answerer]
  }

  #pass(signal: AbortSignal, ms = 5): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        cancel()
        reject(new NetworkError('aborted'))
      }
      const cancel = this.clock.after(ms, () => {
        signal.removeEventListener('abort', abort)
        resolve()
      })
      if (signal.aborted) abort()
      else signal.addEventListener('abort', abort, { once: true })
    })
  }
}
