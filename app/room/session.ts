/** A room as this device lives in it: puts the parts together and keeps the view. */
import type { Manifest } from '../../model-split/manifest.ts'
import type { RoomShards, RoomText } from './workers.ts'
import type { StageApi } from '../../workers/stage/api.ts'
import type { Random } from './bytes.ts'
import { every, pause, type Clock } from './clock.ts'
import { Conversation, type Settings } from './conversation.ts'
import type { Deal } from './deal.ts'
import type { WatchHealth } from './health.ts'
import type { Identity } from './handshake.ts'
import { KnockDesk } from './knock.ts'
import type { Lifecycle } from './lifecycle.ts'
import type { Network } from './link.ts'
import { linkFacts } from './link-facts.ts'
import { foundRoom, memberOf } from './membership.ts'
import { holdersOf, MateShards } from './mate-shards.ts'
import { Mesh } from './mesh.ts'
import { firstFacts, Monitor } from './monitor.ts'
import { modelAddress, resolveModel } from './model-url.ts'
import { Preparer, sentenceOf } from './preparer.ts'
import { SLOW } from './pace.ts'
import { PROOF_LIMIT_MS } from './proof.ts'
import { asLine, type Message } from './protocol.ts'
import { JoinError, Rendezvous, whyNotJoined } from './rendezvous.ts'
import { Replica } from './replica.ts'
import { runningIn } from './running.ts'
import { StepTimesTeller } from './step-times.ts'
import { codeOf, linkOf, slotIds, SLOTS, type Secret } from './secret.ts'
import type { ChatActions, Knock, RoomSession, RoomView } from './types.ts'
import { isReady, viewOf } from './view.ts'

export interface RoomOptions {
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  readonly lifecycle: Lifecycle
  readonly identity: Identity
  readonly stage: StageApi
  readonly shards: RoomShards
  readonly text: RoomText
  /** Address of this page; links and model paths are relative to it. */
  readonly page: string
  readonly name: string
  /** Bytes that it lends at most. */
  readonly memoryBudget: number
  /** Bytes that a probe could get, or null. */
  readonly memoryProbed?: number | null
  /** What people should know from the start, in one sentence. */
  readonly notice?: string | null
  readonly engine: 'auto' | 'wasm' | 'webgpu'
  readonly threads: number
  /** Cut folder of the model, for a room that is opened here. */
  readonly model: string
  readonly deal: Deal
  /** What the browser tells of this device; default: nothing. */
  readonly health?: WatchHealth
  /** Devices that the first plan waits for; default null: see the coordinator. */
  readonly expected?: number | null
}

const MODEL_RETRY_MS = 10_000
/** Lets a farewell leave before the connections are closed, ms. */
const FAREWELL_MS = 100

export class Session extends EventTarget implements RoomSession {
  readonly #mesh: Mesh
  readonly #replica: Replica
  readonly #rendezvous: Rendezvous
  readonly #mates: MateShards
  readonly #preparer: Preparer
  readonly #conversation: Conversation
  readonly #desk: KnockDesk
  readonly #monitor: Monitor
  readonly #end = new AbortController()
  readonly #undo: (() => void)[] = []
  readonly #refused = new Set<string>()
  #joined: (() => void) | null = null
  #failed: ((error: Error) => void) | null = null
  #model: string | null = null
  #manifest: Manifest | null = null
  #textOpen = false
  #knocks: readonly Knock[] = []
  #door: string | null = null
  #notice: string | null = null
  #closed: string | null = null
  #view: RoomView
  #stale = false

  constructor(
    private readonly options: RoomOptions,
    private readonly secret: Secret,
  ) {
    super()
    const { clock, random, identity: self, network, lifecycle } = options
    this.#mesh = new Mesh(
      { secret, self, clock, random },
      {
        up: ({ device }) => {
          this.#replica.up(device)
          if (this.#replica.coordinates && this.#desk.knocks.length > 0)
            this.#mesh.send(device, { type: 'knocks', knocks: [...this.#desk.knocks] })
          this.#sync()
        },
        down: (device, clean) => {
          void options.stage.disconnect(device).catch(() => undefined)
          this.#mates.disconnect(device)
          this.#replica.down(device, clean)
          this.#tellLinks()
          // Also after a goodbye: a connection may close at both ends while both pages live.
          this.#rendezvous.nudge()
        },
        frames: (device, channel) => {
          options.stage.connect(device, channel).catch((error: unknown) => {
            this.#say(sentenceOf(error, 'A phone could not be connected'))
          })
          this.#tellLinks()
        },
        // Without it the other channel carries everything.
        spare: (device, channel) =>
          void options.stage.connectSpare(device, channel).catch(() => undefined),
        bulk: (device, channel) => this.#mates.connect(device, channel),
        message: (device, message) => this.#hear(device, message),
        rank: (device, rank) => this.#replica.seen(device, rank),
        refused: (reason, proven) => this.#onRefused(reason, proven),
        replaced: () =>
          this.#close(
            'This phone has the room open in another tab. Go on there, or reload this page.',
          ),
        notice: (text) => this.#say(text),
        objection: ({ device }) => {
          const state = this.#replica.state
          const full = state !== null && state.members.length >= SLOTS
          return full && !memberOf(state, device) ? 'full' : null
        },
        ownRank: () => this.#replica.rank,
      },
    )
    this.#replica = new Replica(
      {
        self,
        clock,
        random,
        deal: options.deal,
        expected: options.expected ?? null,
        facts: firstFacts(options),
      },
      this.#mesh,
      () => this.#sync(),
    )
    this.#monitor = new Monitor(self.device, clock, this.#replica)
    this.#rendezvous = new Rendezvous(
      { network, clock, random, slots: slotIds(secret) },
      {
        wire: (wire) => this.#mesh.add(wire),
        known: () => this.#mesh.peers,
        incomplete: () => this.#replica.incomplete,
        online: (online) => this.#onOnline(online),
        unsupported: () => {
          if (!this.#failed)
            this.#say('This browser cannot connect phones, so nobody can join this room.')
        },
      },
    )
    const { stage, shards, text } = options
    this.#mates = new MateShards({
      shards,
      clock,
      bytesOf: (sha256) => this.#manifest?.shards[sha256]?.bytes,
      holders: (sha256) =>
        holdersOf(this.#manifest, this.#replica.state?.active ?? null, sha256),
      rttMs: (device) => this.#mesh.rtt(device),
      isSlow: (device) => (this.#replica.facts.get(device)?.slowdown ?? 1) >= SLOW,
    })
    this.#preparer = new Preparer(
      { self: self.device, stage, shards: this.#mates, clock },
      {
        facts: (change) => this.#replica.tell(this.#monitor.loaded(change)),
        active: () => this.#sync(),
        notice: (sentence) => this.#say(sentence),
      },
    )
    this.#conversation = new Conversation(
      {
        stage,
        text,
        clock,
        context: () => (this.#textOpen ? (this.#manifest?.context ?? null) : null),
        join: () => this.#joinIfReady(),
      },
      () => {
        this.#replica.tell({ running: this.#conversation.running })
        this.#changed()
      },
    )
    this.#desk = new KnockDesk(
      { network, clock, random, code: codeOf(secret), secret },
      (knocks) => {
        this.#knocks = knocks
        this.#mesh.broadcast({ type: 'knocks', knocks: [...knocks] })
        this.#changed()
      },
    )
    const stepTimes = new StepTimesTeller(this.#replica, stage)
    this.#undo.push(
      lifecycle.onHide(() =>
        this.#close('This page was put aside. Reload it to come back to the room.'),
      ),
      lifecycle.onShow(() => this.#rendezvous.nudge()),
      every(clock, 1000, () => {
        this.#tellLinks()
        this.#monitor.rest()
        stepTimes.tell()
        this.#replica.step()
      }),
      options.health?.((health) => {
        this.#replica.tell(health)
        this.#preparer.setVisible(health.visible)
      }) ?? (() => undefined),
    )
    this.#notice = options.notice ?? null
    this.#view = this.#look()
  }

  get view(): RoomView {
    return this.#view
  }

  get chat(): ChatActions {
    return this.#conversation
  }

  /** Opens the room with this device alone; others are called in the background. */
  open(): void {
    const { identity, model, page, random } = this.options
    const [high = 0, low = 0] = random(2)
    this.#replica.found(
      foundRoom(
        identity.device,
        identity.instance,
        modelAddress(model, page),
        high * 256 + low,
      ),
    )
    void this.#rendezvous.start()
  }

  /**
   * Finds the room and gets into it.
   * @throws Error with one sentence for people; the session is closed then.
   */
  async join(signal: AbortSignal): Promise<void> {
    const joined = new Promise<void>((resolve, reject) => {
      this.#joined = resolve
      this.#failed = reject
    })
    const abort = (): void => this.#fail(new JoinError('You stopped joining.', false))
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
    void this.#rendezvous.start().then(async (outcomes) => {
      const answered = [...outcomes.values()].includes('connected')
      // A call that got through may still be proving itself.
      if (answered) await pause(this.options.clock, PROOF_LIMIT_MS, this.#end.signal)
      this.#fail(whyNotJoined(outcomes, this.#refused))
    })
    try {
      await joined
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  ask(text: string): void {
    if (this.#closed === null) this.#conversation.ask(text)
  }

  stop(): void {
    this.#conversation.stop()
  }

  clear(): void {
    this.#conversation.clear()
  }

  admit(knock: string): void {
    this.#decide(knock, true)
  }

  deny(knock: string): void {
    this.#decide(knock, false)
  }

  rename(name: string): void {
    this.#replica.tell({ name: asLine(name, 40) })
  }

  setMemoryBudget(bytes: number): void {
    const memoryBudget = Math.max(0, Math.floor(bytes))
    // Before the model is open there is nothing to tell; opening it takes the newest figure.
    void this.options.stage.setMemoryBudget(memoryBudget).catch(() => undefined)
    this.#replica.tell({ memoryBudget })
    this.#preparer.retry()
  }

  setSampling(settings: Partial<Settings>): void {
    this.#conversation.set(settings)
  }

  async leave(): Promise<void> {
    if (this.#closed !== null) return
    this.#mesh.broadcast({ type: 'bye', reason: 'leaving' })
    this.#conversation.stop()
    await pause(this.options.clock, FAREWELL_MS, this.#end.signal)
    this.#close('You left the room.')
    await this.options.stage.close().catch(() => undefined)
  }

  #joinIfReady(): number | null {
    const { state } = this.#replica
    const own = state && memberOf(state, this.options.identity.device)
    return own && isReady(state, this.#preparer.active) ? own.join : null
  }

  #hear(device: string, message: Message): void {
    const coordinator = this.#replica.state?.coordinator
    if (message.type === 'knocks') {
      if (device !== coordinator) return
      this.#knocks = message.knocks
      this.#changed()
    } else if (message.type === 'verdict') {
      if (this.#replica.coordinates) this.#desk.decide(message.knock, message.allow)
    } else {
      this.#replica.hear(device, message)
    }
  }

  #decide(knock: string, allow: boolean): void {
    const coordinator = this.#replica.state?.coordinator
    if (this.#replica.coordinates) this.#desk.decide(knock, allow)
    else if (coordinator !== undefined)
      this.#mesh.send(coordinator, { type: 'verdict', knock, allow })
  }

  /** Brings everything in line with the room's state. */
  #sync(): void {
    const { state } = this.#replica
    if (state && this.#closed === null) {
      const { device, instance } = this.options.identity
      if (memberOf(state, device)?.instance === instance) {
        this.#joined?.()
        this.#joined = null
        this.#failed = null
      }
      if (this.#door !== state.coordinator) {
        this.#door = state.coordinator
        this.#knocks = []
      }
      this.#desk.listen(this.#replica.coordinates)
      if (this.#model !== state.model) {
        this.#model = state.model
        void this.#openModel(state.model)
      }
      this.#preparer.setBusy(runningIn(this.#replica) > 0)
      this.#preparer.follow(state)
      this.#conversation.flush()
    }
    this.#changed()
  }

  async #openModel(model: string): Promise<void> {
    const { shards, stage, text, identity, page, engine, threads } = this.options
    this.#textOpen = false
    const self = identity.device
    const opened = await this.#persist(model, async () => {
      const url = resolveModel(model, page)
      const manifest = await shards.open(url)
      this.#manifest = manifest
      await stage.open({
        url,
        manifest,
        self,
        memoryBudget:
          this.#replica.facts.get(self)?.memoryBudget ?? this.options.memoryBudget,
        engine,
        mode: 'auto',
        threads,
      })
      await stage.onStats((stats) => {
        this.#monitor.worked(stats)
        if (stats.replaced !== null) this.#say(stats.replaced)
      })
      return { url, manifest }
    })
    if (!opened) return
    const { url, manifest } = opened
    this.#replica.tell({ state: { kind: 'idle' } })
    this.#preparer.open(manifest, url)
    this.#replica.setManifest(manifest)
    const known = await this.#persist(model, async () => {
      // A fetch brings the text files along, whatever shards it names.
      await shards.fetch({ id: 'text', url, shards: [] }, () => undefined)
      return text.open(url)
    })
    if (!known) return
    this.#textOpen = true
    this.#sync()
  }

  /** Tries until it works; null once another model is wanted or the room is closed. */
  async #persist<T>(model: string, attempt: () => Promise<T>): Promise<T | null> {
    const current = (): boolean => this.#closed === null && this.#model === model
    while (current()) {
      try {
        const result = await attempt()
        return current() ? result : null
      } catch (error) {
        if (!current()) return null
        const message = sentenceOf(error, 'The model could not be opened')
        if (this.#preparer.active === null)
          this.#replica.tell({ state: { kind: 'failed', message } })
        this.#say(message)
        await pause(this.options.clock, MODEL_RETRY_MS, this.#end.signal)
      }
    }
    return null
  }

  #tellLinks(): void {
    const known = this.#replica.facts.get(this.options.identity.device)?.links ?? []
    const links = linkFacts(known, this.#mesh.rtts, (id) => this.#mates.bytesPerMs(id))
    this.#replica.tell({ links })
  }

  #onRefused(reason: string, proven: boolean): void {
    this.#refused.add(reason)
    if (reason === 'full' && proven) this.#fail(whyNotJoined(new Map(), this.#refused))
  }

  #onOnline(online: boolean): void {
    const sentence =
      'Other phones cannot join at the moment: the server that brings them together cannot be reached.'
    if (!online && !this.#failed) this.#say(sentence)
    else if (online && this.#notice === sentence) this.#say(null)
  }

  /** Ends an attempt to join; nothing where the device is in already. */
  #fail(error: JoinError): void {
    const failed = this.#failed
    if (!failed) return
    this.#failed = null
    this.#close(error.message)
    failed(error)
  }

  #say(notice: string | null): void {
    this.#notice = notice
    this.#changed()
  }

  /** Idempotent. */
  #close(message: string): void {
    if (this.#closed !== null) return
    this.#closed = message
    this.#end.abort()
    for (const undo of this.#undo.splice(0)) undo()
    this.#desk.listen(false)
    this.#conversation.close()
    this.#preparer.close()
    this.#replica.close()
    this.#mates.close()
    this.#mesh.close()
    this.#rendezvous.close()
    this.#fail(new JoinError(message, false))
    this.#changed()
  }

  #changed(): void {
    if (this.#stale) return
    this.#stale = true
    queueMicrotask(() => {
      this.#stale = false
      this.#view = this.#look()
      this.dispatchEvent(new Event('change'))
    })
  }

  #look(): RoomView {
    return viewOf({
      self: this.options.identity.device,
      link: linkOf(this.options.page, this.secret),
      code: codeOf(this.secret),
      closed: this.#closed,
      state: this.#replica.state,
      facts: this.#replica.facts,
      rtt: (device) => this.#mesh.rtt(device),
      manifest: this.#manifest,
      active: this.#preparer.active,
      thread: this.#conversation.thread,
      knocks: this.#knocks,
      notice: this.#notice,
    })
  }
}
