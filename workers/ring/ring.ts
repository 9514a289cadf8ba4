/** One device in the ring: links, the plan that is active, and the parts that play it. */
import type { Manifest } from '../../model-split/manifest.ts'
import type { Engine } from '../stage/types.ts'
import { Asker } from './asker.ts'
import type { Clock } from './clock.ts'
import { Drafter } from './drafts.ts'
import { compareEpochs } from './epoch.ts'
import { decodeFrame, encodeFrame, PLAIN, type Frame } from './frame.ts'
import { contextOf, wireRules, type WireRules } from './limits.ts'
import type { Links } from './links.ts'
import { readAnswer, readAsk, readFault, write, type AskBounds } from './messages.ts'
import { routesOf, type Routes } from './routes.ts'
import type { Scheduler } from './scheduler.ts'
import { StageNode } from './stage-node.ts'
import { CHUNK_ROWS, Starter, type StarterOptions } from './starter.ts'
import type { AnswerEvent, Ask, RingPlan } from './types.ts'

/** Frames of a plan that is not active here yet. */
const MOST_HELD_FRAMES = 256
const MOST_HELD_BYTES = 16 * 2 ** 20

export interface RingOptions {
  readonly self: string
  readonly manifest: Manifest
  readonly links: Links
  readonly scheduler: Scheduler
  readonly clock: Clock
  readonly chunkRows?: number
  readonly drafter?: StarterOptions['drafter']
  /** After each run of this device's engine. */
  readonly onRun?: (span: number, rows: number, ms: number) => void
}

/** What this device lends to a plan. */
export interface Part {
  readonly engine: Engine
  /** Of the engine: what it loaded for this plan. */
  readonly layout: number
  /** Bytes that caches may take. */
  readonly cacheBudget: number
  /** Longest sequence that the caches hold here. */
  readonly context: number
  /** The engine failed for good; a new plan must bring another. */
  readonly onBroken?: () => void
  /** Nothing is run under this plan any more: the layout may be unloaded. */
  readonly onEnded?: () => void
}

interface Active {
  readonly plan: RingPlan
  readonly part: Part | null
  readonly routes: Routes | null
  readonly node: StageNode | null
  readonly starter: Starter | null
  /** Devices of the ring that this one exchanges hidden states with. */
  readonly neighbours: ReadonlySet<string>
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
  readonly #bounds: AskBounds
  readonly #asker: Asker
  #active: Active | null = null
  #held: { readonly device: string; readonly frame: Frame }[] = []
  #heldBytes = 0
  #malformed = 0
  #stale = 0
  #closed = false

  constructor(options: RingOptions) {
    this.#options = options
    this.#rules = wireRules(options.manifest)
    const { vocabulary } = options.manifest
    this.#bounds = { vocabulary, context: contextOf(options.manifest) }
    this.#asker = new Asker({
      clock: options.clock,
      sendAsk: (sequence, ask) =>
        this.#toStarter({ kind: 'ask', sequence, payload: write(ask) }),
      sendStop: (sequence) => this.#toStarter({ kind: 'stop', sequence }),
      sendForget: (sequence) => this.#toStarter({ kind: 'forget', sequence }),
    })
    options.links.listen(
      {
        onFrame: (device, bytes) => this.#receive(device, bytes),
        onUp: (device) => this.#up(device),
        onDown: (device) => {
          this.#active?.starter?.left(device)
          if (device === this.#starter) this.#asker.lost()
        },
      },
      this.#rules.mostFrameBytes,
    )
  }

  get counts(): RingCounts {
    return { malformed: this.#malformed, stale: this.#stale }
  }

  get sequences(): number {
    return this.#active?.node?.sequences ?? 0
  }

  get lapMs(): number | null {
    return this.#active?.starter?.lapMs ?? null
  }

  /** Answers that this device waits for. */
  get open(): number {
    return this.#asker.open
  }

  /**
   * Serves the plan from now on. Caches of the plan before are dropped; answers that this
   * device waits for are asked for again.
   * @param part null where the plan gives this device nothing to run.
   */
  activate(plan: RingPlan, part: Part | null): void {
    const { self, manifest } = this.#options
    const routes = routesOf(manifest, plan, self)
    this.deactivate()
    const node = routes && part ? this.#node(routes, part) : null
    const starter =
      routes && part && node && routes.starter === self
        ? this.#starterOf(routes, part, node)
        : null
    const neighbours = neighboursOf(routes)
    this.#active = { plan, part, routes, node, starter, neighbours }
    this.#replayHeld()
    this.#asker.resume()
  }

  /** Serves no plan; answers wait for the next one. */
  deactivate(): void {
    const active = this.#active
    this.#active = null
    active?.starter?.close()
    active?.node?.close()
    active?.part?.onEnded?.()
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
    this.#held = []
  }

  get #starter(): string | null {
    return this.#active?.plan.stages[0]?.device ?? null
  }

  #node(routes: Routes, { engine, layout, cacheBudget, onBroken }: Part): StageNode {
    const { scheduler, clock, onRun } = this.#options
    return new StageNode({
      routes,
      engine,
      layout,
      scheduler,
      cacheBudget,
      send: (device, frame) => this.#send(device, frame),
      onLogits: (chunk, outputs) => this.#active?.starter?.logits(chunk, outputs),
      ...(onRun && { onRun }),
      ...(onBroken && { onBroken }),
      now: () => clock.now(),
    })
  }

  #starterOf({ plan, next, self }: Routes, { context }: Part, node: StageNode): Starter {
    const { manifest, clock, chunkRows, drafter } = this.#options
    const { epoch } = plan
    return new Starter({
      manifest,
      context: Math.min(context, contextOf(manifest)),
      clock,
      chunkRows: chunkRows ?? CHUNK_ROWS,
      drafter: drafter ?? ((costs) => new Drafter(costs)),
      begin: (chunk, ids) => {
        this.#awake()
        node.begin(chunk, ids)
      },
      forget: (sequence) => {
        node.forget(sequence)
        if (next !== self) this.#send(next, { ...PLAIN, kind: 'forget', epoch, sequence })
      },
      answer: (device, sequence, message) => {
        const frame = { ...PLAIN, kind: 'answer', epoch, sequence } as const
        this.#send(device, { ...frame, payload: write(message) })
      },
    })
  }

  #toStarter(
    part: Pick<Frame, 'kind' | 'sequence'> & { readonly payload?: Uint8Array },
  ): boolean {
    const starter = this.#starter
    if (!this.#active || starter === null) return false
    return this.#send(starter, { ...PLAIN, ...part, epoch: this.#active.plan.epoch })
  }

  /** What stays on this device takes the same way, less the wire. */
  #send(device: string, frame: Frame): boolean {
    const { self, links } = this.#options
    if (device !== self) return links.send(device, encodeFrame(frame), frame.sequence)
    queueMicrotask(() => this.#dispatch(self, frame))
    return true
  }

  #receive(device: string, bytes: Uint8Array): void {
    const frame = decodeFrame(bytes, this.#rules.payload)
    if (frame) this.#dispatch(device, frame)
    else this.#malformed++
  }

  #dispatch(device: string, frame: Frame): void {
    if (this.#closed) return
    const active = this.#active
    const order = active ? compareEpochs(frame.epoch, active.plan.epoch) : 1
    if (order < 0) this.#stale++
    else if (order > 0 || !active) this.#hold(device, frame)
    else this.#serve(active, device, frame)
  }

  #serve({ routes, node, starter, plan }: Active, device: string, frame: Frame): void {
    const { sequence, attempt } = frame
    const { manifest } = this.#options
    const fromStage = plan.stages.some((stage) => stage.device === device)
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
        const fault = fromStage ? readFault(frame.payload) : null
        if (fault) starter?.fault(sequence, attempt, fault)
        return
      }
      case 'ask': {
        const ask = readAsk(frame.payload, this.#bounds)
        if (ask) starter?.ask(device, sequence, ask)
        else this.#malformed++
        return
      }
      case 'stop':
        starter?.stop(device, sequence)
        return
      case 'answer': {
        const answer =
          device === this.#starter && readAnswer(frame.payload, manifest.vocabulary)
        if (answer) this.#asker.receive(sequence, answer)
        else this.#malformed++
        return
      }
      case 'forget':
        if (starter) starter.forget(device, sequence)
        else if (routes && device === routes.previous) {
          node?.forget(sequence)
          if (!routes.lastStage) this.#send(routes.next, frame)
        }
    }
  }

  #hold(device: string, frame: Frame): void {
    this.#held.push({ device, frame })
    this.#heldBytes += frame.payload.byteLength
    while (this.#held.length > MOST_HELD_FRAMES || this.#heldBytes > MOST_HELD_BYTES)
      this.#heldBytes -= this.#held.shift()?.frame.payload.byteLength ?? 0
  }

  #replayHeld(): void {
    const held = this.#held
    this.#held = []
    this.#heldBytes = 0
    for (const { device, frame } of held) this.#dispatch(device, frame)
  }

  #awake(): void {
    // What one end sends keeps both radios awake.
    const { self, links } = this.#options
    const after = [...(this.#active?.neighbours ?? [])].filter((device) => device > self)
    if (after.length > 0) links.keepAwake(new Set(after))
  }

  #up(device: string): void {
    const { node, neighbours } = this.#active ?? {}
    if (neighbours?.has(device)) node?.report()
    if (device === this.#starter) this.#asker.resume()
  }
}

function neighboursOf(routes: Routes | null): ReadonlySet<string> {
  const found = new Set<string>()
  if (!routes) return found
  for (const { from } of routes.inputs.values()) found.add(from)
  for (const { outputs } of routes.spans)
    for (const { to } of outputs) for (const { device } of to) found.add(device)
  found.delete(routes.self)
  return found
}
