/** The stage worker's service: chooses the engine, loads, checks and swaps what a plan asks. */
import type { StepTimes } from '../../model-split/plan/batch-size.ts'
import type { Clock } from '../ring/clock.ts'
import { compareEpochs } from '../ring/epoch.ts'
import { wireOf } from '../ring/link-port.ts'
import { Links } from '../ring/links.ts'
import { Ring, type Part } from '../ring/ring.ts'
import { nextTask } from '../ring/next-task.ts'
import { Scheduler } from '../ring/scheduler.ts'
import type { AnswerEvent, Ask, Epoch, RingPlan } from '../ring/types.ts'
import type { OpenOptions, PrepareReport, StageApi, StageStats } from './api.ts'
import type { StageParts } from './load-layouts.ts'
import { loadPart, partOf, releasePart, type LoadedPart } from './load-part.ts'
import { OverlapLayers } from './overlap-layers.ts'
import { Mutex } from './stage-errors.ts'
import { StageError, type Engine, type LoadProgress, type WeightMode } from './types.ts'
import { addedBytes } from './weight-modes.ts'

const STATS_MS = 500
/** Without a run for so long, nobody waits for this device, ms. */
const QUIET_MS = 500
/** Caches get at least this much, or no prompt would fit. */
const LEAST_CACHE_BYTES = 8 * 2 ** 20
const REPLACED =
  'The graphics chip of this phone stopped working; its processor goes on, more slowly.'

interface Open {
  readonly options: OpenOptions
  readonly ring: Ring
}

interface Prepared {
  readonly plan: RingPlan
  /** Null: the plan gives this device nothing to run. */
  readonly part: LoadedPart | null
}

export class StageService implements StageApi {
  readonly #parts: StageParts
  readonly #clock: Clock
  readonly #links: Links
  readonly #scheduler = new Scheduler(undefined, nextTask)
  readonly #work = new Mutex()
  readonly #listeners = new Set<(stats: StageStats) => void>()
  /** Parts whose engine failed for good. */
  readonly #broken = new WeakSet<LoadedPart>()
  /** Also of a plan that answers have not all left yet. */
  readonly #loaded = new Set<LoadedPart>()
  readonly #overlap: OverlapLayers
  #open: Open | null = null
  #active: Prepared | null = null
  #next: Prepared | null = null
  #loading = new AbortController()
  #holding = new AbortController()
  #cancelStats: (() => void) | null = null
  #ranAt = -Infinity
  #stepTimes: StepTimes | null = null

  constructor(parts: StageParts) {
    this.#parts = parts
    this.#clock = parts.clock
    this.#links = new Links(parts.clock)
    this.#overlap = new OverlapLayers(parts)
  }

  open(options: OpenOptions): Promise<void> {
    this.#loading.abort()
    this.#holding.abort()
    return this.#work.run(async () => {
      await this.#shut()
      const { self, manifest } = options
      const ring = new Ring({
        self,
        manifest,
        links: this.#links,
        scheduler: this.#scheduler,
        clock: this.#clock,
        stepTimes: () => this.#stepTimes,
        onRun: (span, rows, ms) => {
          this.#ranAt = this.#clock.now()
          const isOther = this.#active?.part?.speed.add(span, rows, ms) === true
          // Layers may have to move: that is told at once.
          if (isOther) this.#tellStats()
          else this.#cancelStats ??= this.#clock.after(STATS_MS, () => this.#tellStats())
        },
      })
      this.#open = { options, ring }
    })
  }

  setMemoryBudget(bytes: number): Promise<void> {
    const { options, ring } = this.#opened()
    this.#open = { options: { ...options, memoryBudget: bytes }, ring }
    this.#shed()
    return Promise.resolve()
  }

  setStepTimes(times: StepTimes | null): Promise<void> {
    this.#stepTimes = times
    return Promise.resolve()
  }

  prepare(
    plan: RingPlan,
    onProgress: (progress: LoadProgress) => void,
    before: RingPlan | null,
  ): Promise<PrepareReport> {
    // What an older call still loads is not wanted any more.
    this.#loading.abort()
    this.#holding.abort()
    const loading = new AbortController()
    this.#loading = loading
    return this.#work.run(async () => {
      const open = this.#opened()
      loading.signal.throwIfAborted()
      const wanted = partOf(open.options, plan)
      const running = this.#active?.part ?? null
      if (!wanted) {
        await this.#replaceNext({ plan, part: null })
        open.ring.prepare(plan, null, before)
        return nothingToRun(running)
      }
      const kept = [running, this.#next?.part].find(
        (part) => part?.key === wanted.key && !this.#broken.has(part),
      )
      if (kept) {
        await this.#replaceNext({ plan, part: kept })
        open.ring.prepare(plan, this.#lend(kept, open.options), before)
        const msPerLayer = kept.speed.msPerLayer ?? kept.report.msPerLayer
        return { ...kept.report, msPerLayer, memory: kept.engine.memory() }
      }
      await this.#replaceNext(null)
      const sound = [...this.#loaded].filter((part) => !this.#broken.has(part))
      const part = await loadPart(this.#parts, open.options, wanted, {
        loaded: sound.sort((a, b) => Number(b === running) - Number(a === running)),
        overlap: this.#overlap,
        makeRoom: () => this.#dropActive(),
        onReplaced: (engine, mode) => this.#wasReplaced(engine, mode),
        onProgress,
        signal: loading.signal,
      })
      this.#loaded.add(part)
      this.#next = { plan, part }
      open.ring.prepare(plan, this.#lend(part, open.options), before)
      return part.report
    })
  }

  async copied(epoch: Epoch): Promise<void> {
    await this.#open?.ring.copied(epoch)
  }

  activate(epoch: Epoch): Promise<void> {
    const { ring, options } = this.#opened()
    const next = this.#next
    if (!next || compareEpochs(next.plan.epoch, epoch) !== 0) {
      if (this.#active && compareEpochs(this.#active.plan.epoch, epoch) === 0)
        return Promise.resolve()
      const message = 'This phone is not ready for the new plan yet.'
      return Promise.reject(new StageError('bad-input', message))
    }
    this.#active = next
    this.#next = null
    // The ring tells when the plan before has ended.
    ring.activate(next.plan, next.part && this.#lend(next.part, options))
    return Promise.resolve()
  }

  hold(layers: readonly number[]): Promise<void> {
    this.#holding.abort()
    const { signal } = (this.#holding = new AbortController())
    return this.#work.run(async () => {
      const { options } = this.#opened()
      const part = this.#active?.part
      if (!part || this.#next || signal.aborted) return
      try {
        const quiet = () => this.#quiet(signal)
        await this.#overlap.hold(layers, part, options, quiet, signal)
      } finally {
        this.#tellStats()
      }
    })
  }

  /** Once the engine has had nothing to run for a while; at once where it is called off. */
  async #quiet(signal: AbortSignal): Promise<void> {
    for (let left = this.#untilQuiet(); left > 0 && !signal.aborted;) {
      await new Promise<void>((resolve) => {
        const cancel = this.#clock.after(left, resolve)
        const end = (): void => {
          cancel()
          resolve()
        }
        signal.addEventListener('abort', end, { once: true })
      })
      left = this.#untilQuiet()
    }
  }

  #untilQuiet(): number {
    return this.#ranAt + QUIET_MS - this.#clock.now()
  }

  // Not async: a channel's handlers must be there before its first message is.
  connect(device: string, link: RTCDataChannel | MessagePort): Promise<void> {
    this.#links.connect(device, wireOf(link))
    return Promise.resolve()
  }

  connectSpare(device: string, link: RTCDataChannel | MessagePort): Promise<void> {
    this.#links.connectSpare(device, wireOf(link))
    return Promise.resolve()
  }

  disconnect(device: string): Promise<void> {
    this.#links.disconnect(device)
    return Promise.resolve()
  }

  ask(ask: Ask, onEvent: (event: AnswerEvent) => void): Promise<void> {
    if (this.#open) this.#open.ring.ask(ask, onEvent)
    else {
      const message = 'No model is open on this phone yet; ask again in a moment.'
      onEvent({ kind: 'failed', sequence: ask.sequence, message })
    }
    return Promise.resolve()
  }

  stop(sequence: number): Promise<void> {
    this.#open?.ring.stop(sequence)
    return Promise.resolve()
  }

  forget(sequence: number): Promise<void> {
    this.#open?.ring.forget(sequence)
    return Promise.resolve()
  }

  onStats(listener: (stats: StageStats) => void): Promise<void> {
    this.#listeners.add(listener)
    return Promise.resolve()
  }

  close(): Promise<void> {
    this.#loading.abort()
    this.#holding.abort()
    return this.#work.run(async () => {
      await this.#shut()
      this.#links.close()
      this.#listeners.clear()
    })
  }

  #opened(): Open {
    if (this.#open) return this.#open
    throw new StageError('bad-input', 'No model is open on this phone yet.')
  }

  async #shut(): Promise<void> {
    this.#cancelStats?.()
    this.#cancelStats = null
    this.#open?.ring.close()
    this.#open = null
    this.#active = null
    this.#next = null
    for (const part of this.#loaded) await this.#release(part)
  }

  /** What the ring needs to know of a part. */
  #lend(part: LoadedPart, { memoryBudget, manifest }: OpenOptions): Part {
    const { engine, rowBytes, layout, spans, report } = part
    // By itself; the plan before may hold more for a while, and overlap layers give way.
    const free = memoryBudget - addedBytes(manifest, report.mode, spans, [])
    const cacheBudget = Math.max(LEAST_CACHE_BYTES, free)
    const context = rowBytes > 0 ? Math.floor(cacheBudget / rowBytes) : Infinity
    return {
      ...{ engine, layout, cacheBudget, context },
      onBroken: () => {
        for (const each of this.#loaded)
          if (each.engine === engine) this.#broken.add(each)
      },
      onEnded: () => void this.#letGo(part),
    }
  }

  /** Where both don't fit into memory: answers wait, and are read in again afterwards. */
  async #dropActive(): Promise<void> {
    this.#open?.ring.deactivate()
    this.#active = null
    for (const part of this.#loaded) await this.#release(part)
  }

  async #replaceNext(next: Prepared | null): Promise<void> {
    const old = this.#next?.part
    this.#next = next
    if (old) await this.#letGo(old)
  }

  /** Unless another plan needs it. */
  async #letGo(part: LoadedPart): Promise<void> {
    if (part !== this.#active?.part && part !== this.#next?.part)
      await this.#release(part)
  }

  /** The graphics chip of some parts was lost, and the processor runs them now. */
  #wasReplaced(engine: Engine, mode: WeightMode): void {
    if (this.#overlap.in(engine).length > 0) this.#overlap.forget()
    for (const part of this.#loaded) {
      if (part.engine !== engine) continue
      const { kind } = engine
      part.report = { ...part.report, engine: kind, mode, memory: engine.memory() }
      part.speed.clear()
    }
    if (this.#active?.part?.engine === engine) this.#tellStats(REPLACED)
  }

  async #release(part: LoadedPart): Promise<void> {
    if (!this.#loaded.delete(part)) return
    const isLast = ![...this.#loaded].some(({ engine }) => engine === part.engine)
    if (isLast && this.#overlap.in(part.engine).length > 0) this.#overlap.forget()
    // A processor that is lost may not even let go.
    await releasePart(part, this.#loaded).catch(() => undefined)
  }

  /** Overlap layers go first where memory is short. */
  #shed(): void {
    const { engine } = this.#active?.part ?? {}
    const budget = this.#open?.options.memoryBudget ?? 0
    if (!engine || this.#overlap.in(engine).length === 0) return
    const { weights, caches } = engine.memory()
    if (weights + caches <= budget) return
    this.#holding.abort()
    void this.#work.run(() => this.#overlap.drop()).then(() => this.#tellStats())
  }

  #tellStats(replaced: string | null = null): void {
    this.#cancelStats?.()
    this.#cancelStats = null
    const active = this.#active
    const ring = this.#open?.ring
    if (!active?.part || !ring) return
    const { speed, engine, report } = active.part
    const stats: StageStats = {
      epoch: active.plan.epoch,
      engine: engine.kind,
      mode: report.mode,
      msPerLayer: speed.msPerLayer ?? report.msPerLayer,
      atWork: speed.msPerLayer !== null,
      msPerLayerPrefill: speed.msPerLayerPrefill,
      msStarter: report.msStarter === null ? null : (speed.msStarter ?? report.msStarter),
      memory: engine.memory(),
      holds: this.#overlap.layers,
      sequences: ring.sequences,
      steps: speed.steps,
      lapMs: ring.lapMs,
      replaced,
    }
    for (const listener of this.#listeners) listener(stats)
    this.#shed()
  }
}

function nothingToRun(running: LoadedPart | null): PrepareReport {
  return {
    engine: running?.report.engine ?? 'wasm',
    mode: running?.report.mode ?? 'packed',
    msPerLayer: running?.report.msPerLayer ?? 0,
    msStarter: null,
    memory: { weights: 0, caches: 0 },
    fallback: null,
  }
}
