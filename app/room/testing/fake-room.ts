/** A room of sessions in one process. */
import { dealLayers } from './plain-deal.ts'
import type { Manifest } from '../../../model-split/manifest.ts'
import { identify, type SmallStore } from '../identity.ts'
import { createRoom, joinByCode, joinByLink } from '../rooms.ts'
import type { Lifecycle } from '../lifecycle.ts'
import type { RoomOptions, Session } from '../session.ts'
import { FakeInternet } from './fake-network.ts'
import { FakeShards, FakeStage, fakeManifest, FakeText } from './fake-workers.ts'
import { seededBytes } from './seeded.ts'
import { VirtualClock } from './virtual-clock.ts'

export class FakePage implements Lifecycle {
  readonly #hide = new Set<() => void>()
  readonly #show = new Set<() => void>()

  onHide(listener: () => void): () => void {
    this.#hide.add(listener)
    return () => this.#hide.delete(listener)
  }

  onShow(listener: () => void): () => void {
    this.#show.add(listener)
    return () => this.#show.delete(listener)
  }

  hide(): void {
    for (const listener of [...this.#hide]) listener()
  }

  show(): void {
    for (const listener of [...this.#show]) listener()
  }
}

/** What one phone has, apart from the session. */
export interface Phone {
  readonly host: string
  readonly page: FakePage
  readonly stage: FakeStage
  readonly shards: FakeShards
  readonly text: FakeText
  readonly options: RoomOptions
}

export class FakeRoom {
  readonly clock = new VirtualClock()
  readonly net = new FakeInternet(this.clock)
  readonly manifest: Manifest
  #phones = 0

  constructor(layers = 8) {
    this.manifest = fakeManifest(layers)
  }

  /** @param store of an earlier phone: the same device, reloaded or in a second tab. */
  phone(change: Partial<RoomOptions> = {}, store?: SmallStore): Phone {
    this.#phones += 1
    const host = `host${this.#phones}`
    const random = seededBytes(this.#phones)
    const page = new FakePage()
    const stage = new FakeStage(this.clock)
    const shards = new FakeShards(this.clock, this.manifest)
    const text = new FakeText()
    const options: RoomOptions = {
      network: this.net.network(host),
      clock: this.clock,
      random,
      lifecycle: page,
      identity: identify(
        store ?? memoryStore(),
        random,
        1_700_000_000_000 + this.#phones,
      ),
      stage,
      shards,
      text,
      page: 'https://choir.test/app/',
      name: `Phone ${this.#phones}`,
      memoryBudget: 1e9,
      expected: 0,
      deal: dealLayers,
      engine: 'wasm',
      threads: 1,
      model: './models/fake/',
      ...change,
    }
    return { host, page, stage, shards, text, options }
  }

  open(phone: Phone): Session {
    return createRoom(phone.options)
  }

  /** Joins, letting the time pass that it takes. */
  async join(phone: Phone, link: string): Promise<Session> {
    return this.#wait(joinByLink(phone.options, link, new AbortController().signal))
  }

  knock(
    phone: Phone,
    code: string,
    onDigits: (digits: string) => void,
  ): Promise<Session> {
    const signal = new AbortController().signal
    return joinByCode(phone.options, code, { signal, onDigits })
  }

  async ready(...sessions: readonly Session[]): Promise<void> {
    await this.clock.until('all ready', () =>
      sessions.every(({ view }) => {
        const { status, devices, epoch } = view
        const first = sessions[0]?.view.epoch
        return (
          status.kind === 'ready' &&
          devices.length === sessions.length &&
          epoch?.term === first?.term &&
          epoch?.number === first?.number &&
          devices.every(({ state }) => state.kind !== 'joining')
        )
      }),
    )
  }

  async #wait(joining: Promise<Session>): Promise<Session> {
    let done = false
    // Both ends are watched below; nothing is left unhandled.
    const watched = joining.finally(() => (done = true))
    watched.catch(() => undefined)
    await this.clock.until('joined or refused', () => done)
    return await watched
  }
}

export function memoryStore(): SmallStore {
  const items = new Map<string, string>()
  return {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => void items.set(key, value),
  }
}
