/** Follows the room's plan: fetches the shards, has the stage prepare them, activates. */
import type { Manifest } from '../../model-split/manifest.ts'
import { shardsOf } from '../../model-split/span.ts'
import { spansOf, type Epoch, type RingPlan } from '../../workers/ring/types.ts'
import type { ShardsApi } from '../../workers/shards/types.ts'
import type { StageApi } from '../../workers/stage/api.ts'
import type { Clock } from './clock.ts'
import { compareEpochs, isWhole, type RoomState } from './membership.ts'
import { asLine, type Facts } from './protocol.ts'

/** After a failure a device offers itself again, ms; at most `RETRIES` times. */
const RETRY_MS = 30_000
const RETRIES = 3

export interface PreparerOptions {
  /** This device's id. */
  readonly self: string
  readonly stage: Pick<StageApi, 'prepare' | 'copied' | 'activate' | 'hold'>
  readonly shards: Pick<ShardsApi, 'fetch' | 'cancel'>
  readonly clock: Clock
}

interface Model {
  readonly manifest: Manifest
  readonly url: string
}

/** What is being prepared. */
interface Running {
  readonly key: string
  /** Of the shards. */
  readonly job: string
  /** Another plan is wanted. */
  readonly outdated: AbortController
}

export interface PreparerEvents {
  facts(change: Partial<Facts>): void
  /** From now on this device takes part in the plan. */
  active(plan: RingPlan): void
  notice(text: string): void
}

export class Preparer {
  #model: Model | null = null
  #state: RoomState | null = null
  #prepared: string | null = null
  #active: Epoch | null = null
  #running: Running | null = null
  /** What was last to be held beside the span, and the fetch for it. */
  #held: string | null = null
  #holding: string | null = null
  #visible = true
  #busy = false
  #failed = false
  #retries = 0
  #jobs = 0
  #closed = false

  constructor(
    private readonly options: PreparerOptions,
    private readonly events: PreparerEvents,
  ) {}

  /** The plan that this device takes part in. */
  get active(): Epoch | null {
    return this.#active
  }

  /** The stage is open for this model. */
  open(manifest: Manifest, url: string): void {
    this.#model = { manifest, url }
    this.#turn()
  }

  follow(state: RoomState): void {
    this.#state = state
    this.#turn()
  }

  /** Offers this device again after a failure, as something changed. */
  retry(): void {
    if (!this.#failed) return
    this.#retries = 0
    this.#offer()
  }

  /** A page in the background may be ended where it takes much memory. */
  setVisible(visible: boolean): void {
    this.#visible = visible
    this.#turn()
  }

  /** While answers run nothing is fetched that they can do without. */
  setBusy(busy: boolean): void {
    if (busy === this.#busy) return
    this.#busy = busy
    if (busy && this.#holding !== null) {
      this.options.shards.cancel(this.#holding)
      this.#held = null
    }
    this.#turn()
  }

  close(): void {
    this.#closed = true
    if (this.#holding !== null) this.options.shards.cancel(this.#holding)
    if (this.#running) this.options.shards.cancel(this.#running.job)
  }

  #wanted(): RingPlan | null {
    const state = this.#state
    if (!state) return null
    for (const plan of [state.next, state.active]) {
      // After a partition the room's plan may be older than this device's: it waits for
      // the one that will follow.
      const old =
        plan && this.#active ? compareEpochs(plan.epoch, this.#active) < 0 : false
      if (plan && !old && isWhole(state, plan)) return plan
    }
    return null
  }

  #turn(): void {
    if (this.#closed) return
    const active = this.#state?.active
    const later =
      active && (!this.#active || compareEpochs(active.epoch, this.#active) > 0)
    if (later && this.#prepared === keyOf(active)) void this.#activate(active)
    const plan = this.#wanted()
    if (!plan || !this.#model) return
    const key = keyOf(plan)
    if (this.#running) {
      // A later plan: what is still being fetched for the old one may stop.
      if (this.#running.key !== key) {
        this.options.shards.cancel(this.#running.job)
        this.#running.outdated.abort()
      }
      return
    }
    if (this.#prepared === key) {
      this.#hold(this.#model, plan)
      return
    }
    if (this.#holding !== null) this.options.shards.cancel(this.#holding)
    this.#jobs += 1
    const outdated = new AbortController()
    this.#running = { key, job: `plan-${this.#jobs}`, outdated }
    void this.#prepare(plan, this.#model, this.#running).finally(() => {
      this.#running = null
      this.#turn()
    })
  }

  /** What is dealt beside the span, while nothing is to be prepared. */
  #hold(model: Model, { epoch, stages }: RingPlan): void {
    const { self, stage, shards } = this.options
    const dealt = stages.find(({ device }) => device === self)?.hold
    const isActive = this.#active !== null && compareEpochs(this.#active, epoch) === 0
    if (!dealt || !isActive || this.#holding !== null || this.#busy) return
    const layers = this.#visible ? dealt : []
    const key = JSON.stringify([epoch, layers])
    if (key === this.#held) return
    this.#held = key
    this.#jobs += 1
    const job = `overlap-${this.#jobs}`
    this.#holding = job
    const wanted = shardsOf(
      model.manifest,
      layers.map((from) => ({ from, to: from + 1, embed: false, head: false })),
    )
    void shards
      .fetch({ id: job, url: model.url, shards: wanted }, () => undefined)
      .then(() => stage.hold(layers))
      // Nothing needs them yet: without them a plan fetches what it needs.
      .catch(() => undefined)
      .finally(() => {
        this.#holding = null
        this.#turn()
      })
  }

  async #prepare(
    plan: RingPlan,
    { manifest, url }: Model,
    { key, job, outdated }: Running,
  ): Promise<void> {
    const { self, stage, shards } = this.options
    const { epoch } = plan
    const current = (): boolean => {
      const wanted = this.#wanted()
      return !this.#closed && wanted !== null && keyOf(wanted) === key
    }
    const index = plan.stages.findIndex(({ device }) => device === self)
    const report = (state: Facts['state']): void => {
      if (current() && index >= 0)
        this.events.facts({ state, prepared: { epoch, result: 'working' } })
    }
    try {
      const spans = index < 0 ? [] : spansOf(plan, index, manifest.layers)
      const wanted = shardsOf(manifest, spans)
      report({ kind: 'fetching', doneBytes: 0, totalBytes: 0 })
      await shards.fetch({ id: job, url, shards: wanted }, ({ doneBytes, totalBytes }) =>
        report({ kind: 'fetching', doneBytes, totalBytes }),
      )
      if (!current()) return
      report({ kind: 'loading', doneBytes: 0, totalBytes: 0 })
      const before = this.#state?.active ?? null
      const done = await stage.prepare(
        plan,
        ({ loadedBytes, totalBytes }) =>
          report({ kind: 'loading', doneBytes: loadedBytes, totalBytes }),
        before,
      )
      if (index >= 0) await unless(outdated.signal, stage.copied(epoch))
      this.#prepared = key
      if (index >= 0) this.#failed = false
      if (!current()) return
      if (done.fallback !== null) this.events.notice(done.fallback)
      const prepared = { epoch, result: 'ready' as const }
      if (index < 0) {
        // Who was dealt out because it failed goes on saying why.
        const state = this.#failed ? {} : { state: { kind: 'idle' as const } }
        this.events.facts({ prepared, memoryUsed: 0, ...state })
        return
      }
      this.events.facts({
        prepared,
        state: { kind: 'ready' },
        engine: done.engine,
        mode: done.mode,
        msPerLayer: done.msPerLayer,
        ...(done.msStarter === null ? {} : { msStarter: done.msStarter }),
        memoryUsed: done.memory.weights + done.memory.caches,
      })
    } catch (error) {
      // What is not wanted any more may fail; the next turn prepares what is.
      if (!current()) return
      this.#prepared = key
      this.#failed = true
      const message = sentenceOf(error, 'This phone could not load its layers')
      this.events.facts({
        state: { kind: 'failed', message },
        prepared: { epoch, result: 'failed' },
      })
      this.events.notice(message)
      if (this.#retries < RETRIES) {
        this.#retries += 1
        this.options.clock.after(RETRY_MS, () => this.#offer())
      }
    }
  }

  #offer(): void {
    if (this.#closed || this.#running || !this.#failed) return
    this.#failed = false
    this.#prepared = null
    this.events.facts({ state: { kind: 'idle' }, prepared: null })
    this.#turn()
  }

  async #activate(plan: RingPlan): Promise<void> {
    this.#active = plan.epoch
    try {
      await this.options.stage.activate(plan.epoch)
      if (this.#closed) return
      this.events.active(plan)
      this.#turn()
    } catch (error) {
      this.events.notice(sentenceOf(error, 'This phone could not start its layers'))
    }
  }
}

/** Resolves at once when the signal comes. */
function unless(signal: AbortSignal, work: Promise<void>): Promise<void> {
  const aborted = new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
  return Promise.race([work, aborted])
}

/** The error's own sentence, or `what` and its text. */
export function sentenceOf(error: unknown, what: string): string {
  const text = error instanceof Error ? error.message : ''
  if (/^[A-Z].*[.!]$/s.test(text)) return asLine(text, 300)
  return asLine(text === '' ? `${what}.` : `${what} (${text}).`, 300)
}

/** What is to be prepared; what is held beside it is not. */
function keyOf({ epoch, stages }: RingPlan): string {
  return JSON.stringify([epoch, stages.map(({ device, from, to }) => [device, from, to])])
}
