/**
 * One device in the ring: links, the plans that are served, and the parts that play them. While
 * answers go over from one plan to the next both are served.
 */
import type { Manifest } from '../../model-split/manifest.ts'
import { Asker } from './asker.ts'
import type { Clock } from './clock.ts'
import { Drafter } from './drafts.ts'
import { compareEpochs } from './epoch.ts'
import { Farewell } from './farewell.ts'
import { decodeFrames, encodeFrame, PLAIN, type Frame } from './frame.ts'
import { HeldFrames } from './held-frames.ts'
import { Holding } from './holding.ts'
import { BULK_LANE } from './link-port.ts'
import { contextOf, wireRules, type WireRules } from './limits.ts'
import type { Links } from './links.ts'
import * as messages from './messages.ts'
import { Outbox } from './outbox.ts'
import { Plans } from './plans.ts'
import {
  isStageOf,
  servedBy,
  servingOf,
  starterOf,
  type Part,
  type Serving,
} from './serving.ts'
import type { NodeOptions } from './stage-node.ts'
import { CHUNK_ROWS, Starter, type StarterOptions } from './starter.ts'
import { Succession } from './succession.ts'
import type { AnswerEvent, Ask, Epoch, RingPlan } from './types.ts'

export type { Part } from './serving.ts'

export interface RingOptions extends Pick<
  NodeOptions,
  'scheduler' | 'onRun' | 'stepTimes'
> {
  readonly self: string
  readonly manifest: Manifest
  readonly links: Links
  readonly clock: Clock
  readonly chunkRows?: number
  readonly drafter?: StarterOptions['drafter']
}

export interface RingCounts {
  /** Frames refused at the border. */
  readonly malformed: number
  /** Frames of an older plan. */
  readonly stale: number
}

export class Ring {
  readonly #options: RingOptions
  readonly #rules: WireRules
  readonly #bounds: messages.AskBounds
  readonly #asker: Asker
  #holding: Holding | null = null
  #starter: Starter | null = null
  #succession: Succession | null = null
  readonly #plans: Plans
  readonly #farewell: Farewell
  readonly #held = new HeldFrames()
  readonly #outbox: Outbox
  #malformed = 0
  #stale = 0
  #closed = false

  constructor(options: RingOptions) {
    this.#options = options
    this.#rules = wireRules(options.manifest)
    this.#plans = new Plans({
      clock: options.clock,
      onEnd: (serving) => this.#end(serving),
      onSettled: () => this.#settled(),
    })
    this.#farewell = new Farewell(options.self, (device, frame) =>
      this.#send(device, frame),
    )
    this.#outbox = new Outbox(
      (...message) => options.links.send(...message),
      this.#rules.mostFrameBytes,
    )
    const { vocabulary } = options.manifest
    this.#bounds = { vocabulary, context: contextOf(options.manifest) }
    this.#asker = new Asker({
      clock: options.clock,
      sendAsk: (sequence, ask) =>
        this.#toStarter({ kind: 'ask', sequence, payload: messages.write(ask) }),
      sendStop: (sequence) => this.#toStarter({ kind: 'stop', sequence }),
      sendForget: (sequence) => this.#toStarter({ kind: 'forget', sequence }),
    })
    options.links.listen(
      {
        onFrame: (device, bytes) => this.#receive(device, bytes),
        onUp: (device) => this.#up(device),
        onDown: (device) => this.#down(device),
      },
      this.#rules.mostFrameBytes,
    )
  }

  get counts(): RingCounts {
    return { malformed: this.#malformed, stale: this.#stale }
  }

  get sequences(): number {
    return this.#holding?.node.sequences ?? 0
  }

  get lapMs(): number | null {
    return this.#starter?.lapMs ?? null
  }

  /** Answers that this device waits for. */
  get open(): number {
    return this.#asker.open
  }

  /**
   * A plan may be activated soon: caches of layers that come to this device are copied ahead,
   * and others may copy from here.
   * @param before the plan that serves meanwhile.
   */
  prepare(plan: RingPlan, part: Part | null, before: RingPlan | null): void {
    this.#plans.prepare(null)
    // Another engine takes over when the plan is activated; it begins without caches.
    if (part && this.#holding && part.engine !== this.#holding.engine) return
    const next = this.#serving(plan, part, before ?? this.#plans.current?.plan ?? null)
    this.#plans.prepare(next)
    next.copy?.start()
    this.#replayHeld()
  }

  /**
   * Resolves once little is left to copy for the cut-over to this plan, or it is not prepared
   * any more.
   */
  async copied(epoch: Epoch): Promise<void> {
    await this.#plans.prepared(epoch)?.copy?.caughtUp()
  }

  /**
   * Serves the plan from now on. Caches go on living with their engine, and answers go over
   * one by one; those that this device waits for are asked for again.
   * @param part null where the plan gives this device nothing to run.
   */
  activate(plan: RingPlan, part: Part | null): void {
    const { manifest } = this.#options
    const { engine } = part ?? {}
    const plans = this.#plans
    // What is prepared keeps the engine's caches alive.
    plans.endPrevious()
    const next = plans.takeNext()
    const before = next?.before ?? plans.current?.plan ?? null
    const lost = engine && engine !== this.#holding?.engine ? this.#drop() : []
    const isPrepared =
      next !== null &&
      compareEpochs(next.plan.epoch, plan.epoch) === 0 &&
      next.part?.engine === engine
    if (!isPrepared) next?.copy?.close()
    const serving = isPrepared ? servedBy(next, part) : this.#serving(plan, part, before)
    if (!isPrepared) serving.copy?.start()
    serving.copy?.finish()
    if (serving.node) this.#holding?.node.serve(serving.node)
    plans.serve(serving)
    this.#lead(serving, contextOf(manifest))
    this.#checkPrevious()
    for (const [sequence, attempt] of lost) this.#refuse(serving, sequence, attempt, 0)
    this.#replayHeld()
    this.#asker.resume()
  }

  /** Serves no plan; answers wait for the next one. */
  deactivate(): void {
    const active = this.#plans.current
    this.#plans.prepare(null)
    this.#plans.endPrevious()
    this.#drop()
    if (active) this.#asker.lost()
  }

  ask(ask: Ask, onEvent: (event: AnswerEvent) => void): void {
    this.#asker.ask(ask, onEvent)
  }

  stop(sequence: number): void {
    this.#asker.stop(sequence)
  }

  forget(sequence: number): void {
    this.#asker.forget(sequence)
  }

  close(): void {
    this.#closed = true
    this.#asker.close()
    this.deactivate()
    this.#held.take()
  }

  #serving(plan: RingPlan, part: Part | null, before: RingPlan | null): Serving {
    const { self, manifest } = this.#options
    if (part)
      this.#holding ??= new Holding({
        ...this.#options,
        engine: part.engine,
        send: (device, frame) => this.#send(device, frame),
        onLogits: (chunk, outputs) => this.#starter?.logits(chunk, outputs),
        ...(part.onBroken && { onBroken: part.onBroken }),
      })
    const holding = this.#holding
    return servingOf(manifest, plan, self, { part, before, holding })
  }

  /** Begins or goes on to start sequences, or hands them over. */
  #lead({ plan, part, before }: Serving, longest: number): void {
    const { self, clock, links } = this.#options
    const { epoch } = plan
    const next = starterOf(plan)
    this.#succession?.close()
    this.#succession = null
    if (next !== self || !part) {
      if (next === null) return
      // An engine that was given up has nothing to hand over.
      if (!this.#starter && starterOf(before) === self && next !== self)
        this.#send(next, { ...PLAIN, kind: 'moved', epoch, sequence: 0 })
      this.#starter?.handOver((state, sequence) => {
        const payload = messages.write(state)
        this.#send(next, { ...PLAIN, kind: 'state', epoch, sequence, payload })
      })
      return
    }
    const context = Math.min(part.context, longest)
    if (this.#starter) {
      this.#starter.follow(epoch, context)
      return
    }
    this.#starter = this.#newStarter(epoch, context)
    const last = starterOf(before)
    if (last !== null && last !== self && links.has(last))
      this.#succession = new Succession(this.#starter, last, clock)
  }

  #newStarter(epoch: Epoch, context: number): Starter {
    const { manifest, clock, chunkRows, drafter, self } = this.#options
    const options: StarterOptions = {
      manifest,
      clock,
      chunkRows: chunkRows ?? CHUNK_ROWS,
      drafter: drafter ?? ((costs) => new Drafter(costs)),
      begin: (...chunk: Parameters<StageNodeBegin>) => {
        this.#awake()
        this.#holding?.node.begin(...chunk)
      },
      forget: (sequence: number) => {
        this.#holding?.node.forget(sequence)
        const { routes, plan } = this.#plans.current ?? {}
        if (routes && plan && routes.next !== self)
          this.#send(routes.next, {
            ...PLAIN,
            kind: 'forget',
            epoch: plan.epoch,
            sequence,
          })
      },
      answer: (from, { device, sequence, question: attempt }, message) => {
        const payload = messages.write(message)
        const frame = {
          ...PLAIN,
          kind: 'answer',
          epoch: from,
          sequence,
          attempt,
        } as const
        this.#send(device, { ...frame, payload })
      },
      moved: () => this.#moved(),
    }
    return new Starter(options, epoch, context)
  }

  /** As the starter of the plan before: all sequences have gone over. */
  #moved(): void {
    const { self } = this.#options
    const { current, previous } = this.#plans
    const next = current && starterOf(current.plan)
    if (current && next !== null && next !== self) {
      const { epoch } = current.plan
      this.#send(next, { ...PLAIN, kind: 'moved', epoch, sequence: 0 })
    }
    if (!previous) return
    this.#farewell.tell(previous.plan)
    this.#plans.over(previous)
  }

  #settled(): void {
    if (this.#starter?.isOver) {
      this.#starter.close()
      this.#starter = null
    }
    const { current, next } = this.#plans
    // The last plan that ran something here.
    if (current && !current.part && !next?.part) this.#release()
  }

  #end({ copy, part, plan }: Serving): void {
    copy?.close()
    this.#holding?.node.end(plan.epoch)
    this.#starter?.ended(plan.epoch)
    part?.onEnded?.()
  }

  /** Ends what is served with this engine; which sequences were at which attempt. */
  #drop(): [sequence: number, attempt: number][] {
    const lost = this.#holding?.node.attempts ?? []
    this.#starter?.close()
    this.#starter = null
    this.#succession?.close()
    this.#succession = null
    const { plan } = this.#plans.current ?? {}
    if (plan && starterOf(plan) === this.#options.self) this.#farewell.tell(plan)
    this.#plans.endCurrent()
    this.#release()
    return lost
  }

  #release(): void {
    this.#holding?.node.close()
    this.#holding = null
  }

  #toStarter(
    part: Pick<Frame, 'kind' | 'sequence'> & { readonly payload?: Uint8Array },
  ): boolean {
    const { plan } = this.#plans.current ?? {}
    const starter = starterOf(plan)
    if (!plan || starter === null) return false
    return this.#send(starter, { ...PLAIN, ...part, epoch: plan.epoch })
  }

  /** What stays on this device takes the same way, less the wire. */
  #send(device: string, frame: Frame): boolean {
    const { self, links } = this.#options
    const { kind, last, sequence } = frame
    if (device !== self) {
      if (kind === 'hidden') {
        if (links.has(device)) this.#outbox.add(device, frame)
        return links.has(device)
      }
      const isBulk = kind === 'kv-list' || (kind === 'kv' && !last)
      return links.send(device, encodeFrame(frame), isBulk ? BULK_LANE : sequence)
    }
    queueMicrotask(() => this.#dispatch(self, frame))
    return true
  }

  #receive(device: string, bytes: Uint8Array): void {
    const frames = decodeFrames(bytes, this.#rules.payload)
    if (!frames) this.#malformed++
    for (const frame of frames ?? []) this.#dispatch(device, frame)
  }

  #dispatch(device: string, frame: Frame): void {
    if (this.#closed) return
    const active = this.#plans.current
    const plan = this.#plans.of(frame)
    if (plan) this.#serve(plan, device, frame)
    else if (!active || compareEpochs(frame.epoch, active.plan.epoch) > 0)
      this.#held.add(device, frame)
    else this.#tooLate(active, device, frame)
  }

  /** What is lost with a plan that is over here has to be fed again. */
  #tooLate(serving: Serving, device: string, frame: Frame): void {
    this.#stale++
    const { plan, before, routes } = serving
    const isStage = [plan, before].some((each) => isStageOf(each, device))
    if (frame.kind !== 'hidden' || !isStage) return
    const { sequence, attempt } = frame
    const rows = routes && this.#holding?.node.rowsOf(sequence, routes)
    this.#refuse(serving, sequence, attempt, rows ?? 0)
  }

  /** Tells whoever may have fed it, before or now, that only `position` rows are here. */
  #refuse(
    { plan, before }: Serving,
    sequence: number,
    attempt: number,
    position: number,
  ): void {
    const { epoch } = plan
    const nack = { ...PLAIN, kind: 'nack', epoch, sequence, attempt, position } as const
    for (const starter of new Set([starterOf(plan), starterOf(before)]))
      if (starter !== null) this.#send(starter, nack)
  }

  #serve(serving: Serving, device: string, frame: Frame): void {
    const { routes, plan, copy } = serving
    const { sequence, attempt } = frame
    const { manifest, self } = this.#options
    const { node, source } = this.#holding ?? {}
    const starter = this.#starter
    const fromStage = [plan, serving.before].some((each) => isStageOf(each, device))
    switch (frame.kind) {
      case 'hidden':
        this.#awake()
        node?.receive(device, frame)
        return
      case 'passed':
        if (plan.stages.at(-1)?.device === device) starter?.passed(sequence, attempt)
        return
      case 'nack':
        if (fromStage) starter?.nack(sequence, attempt, frame.position)
        return
      case 'fault': {
        const fault = fromStage ? messages.readFault(frame.payload) : null
        if (fault) starter?.fault(sequence, attempt, fault)
        return
      }
      case 'ask': {
        const ask = messages.readAsk(frame.payload, this.#bounds)
        if (ask) (this.#succession ?? starter)?.ask(device, sequence, ask)
        else this.#malformed++
        return
      }
      case 'stop':
        starter?.stop(device, sequence)
        return
      case 'answer': {
        const answer =
          device === starterOf(plan) &&
          messages.readAnswer(frame.payload, manifest.vocabulary)
        if (answer) this.#asker.receive(sequence, attempt, answer, plan.epoch)
        else this.#malformed++
        return
      }
      case 'forget':
        if (starterOf(plan) === self) starter?.forget(device, sequence)
        else if (routes && device === routes.previous) {
          node?.forget(sequence)
          if (!routes.lastStage) this.#send(routes.next, frame)
        }
        return
      case 'moved':
        if (serving === this.#plans.current && device === this.#succession?.device)
          this.#succession.end()
        else if (device === starterOf(plan)) this.#plans.over(serving)
        return
      case 'state': {
        const isDue = device === this.#succession?.device
        const state = isDue && messages.readState(frame.payload, this.#bounds)
        if (state) this.#succession?.state(sequence, state)
        else if (isDue) this.#malformed++
        return
      }
      case 'kv-ask':
        this.#plans.copying(serving)
        source?.list(plan, device)
        return
      case 'kv-want':
        this.#plans.copying(serving)
        if (source) void source.give(plan, device, frame)
        // The chunk that waits for them can be fed again at once.
        else this.#send(device, { ...frame, kind: 'kv', rows: 0 })
        return
      case 'kv-list': {
        const list = messages.readKvList(frame.payload)
        if (list) copy?.list(device, list, frame.rows)
        else this.#malformed++
        return
      }
      case 'kv':
        copy?.receive(device, frame)
    }
  }

  #replayHeld(): void {
    for (const { device, frame } of this.#held.take()) this.#dispatch(device, frame)
  }

  #awake(): void {
    // What one end sends keeps both radios awake.
    const { self, links } = this.#options
    const after = [...(this.#plans.current?.neighbours ?? [])].filter(
      (device) => device > self,
    )
    if (after.length > 0) links.keepAwake(new Set(after))
  }

  #up(device: string): void {
    const { current } = this.#plans
    if (current?.neighbours.has(device)) this.#holding?.node.report()
    this.#farewell.up(device)
    if (device === starterOf(current?.plan)) this.#asker.resume()
  }

  #down(device: string): void {
    this.#starter?.left(device)
    for (const { copy } of this.#plans.all) copy?.down(device)
    this.#checkPrevious()
    if (device === this.#succession?.device) this.#succession.end()
    if (device === starterOf(this.#plans.current?.plan)) this.#asker.lost()
  }

  /** Whether the plan before can still be fed. */
  #checkPrevious(): void {
    const { self, links } = this.#options
    const { previous } = this.#plans
    if (!previous) return
    const { plan } = previous
    const isThere = (device: string) => device === self || links.has(device)
    if (!plan.stages.every(({ device }) => isThere(device)))
      this.#starter?.ended(plan.epoch)
    const starter = starterOf(plan)
    if (starter !== null && !isThere(starter)) this.#plans.over(previous)
  }
}

type StageNodeBegin = Holding['node']['begin']
