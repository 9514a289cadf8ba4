/** Turns what this device measures of itself into its facts. */
import type { StageStats } from '../../workers/stage/api.ts'
import type { Clock } from './clock.ts'
import { twoDigits } from './figures.ts'
import { Pace } from './pace.ts'
import { asLine, MAX_HELD, type Facts } from './protocol.ts'
import type { Replica } from './replica.ts'
import type { RoomOptions } from './session.ts'

/** What a device tells of itself before it has measured anything. */
export function firstFacts(
  options: Pick<RoomOptions, 'name' | 'engine' | 'memoryBudget' | 'memoryProbed'>,
): Facts {
  return {
    name: asLine(options.name, 40),
    engine: options.engine === 'webgpu' ? 'webgpu' : 'wasm',
    memoryBudget: Math.max(0, Math.floor(options.memoryBudget)),
    memoryUsed: 0,
    memoryProbed: options.memoryProbed ?? null,
    mode: null,
    msPerLayer: null,
    msPerLayerPrefill: null,
    msStarter: null,
    slowdown: 1,
    lap: null,
    holds: [],
    links: [],
    state: { kind: 'joining' },
    prepared: null,
    running: 0,
    battery: null,
    visible: true,
  }
}

export class Monitor {
  readonly #pace = new Pace()

  constructor(
    private readonly self: string,
    private readonly clock: Clock,
    private readonly replica: Pick<Replica, 'state' | 'facts' | 'tell'>,
  ) {}

  /** Running figures of this device's stage. */
  worked(stats: StageStats): void {
    const { engine, mode, msPerLayer, msPerLayerPrefill, msStarter, atWork, lapMs } =
      stats
    if (atWork) this.#pace.worked({ mode, msPerLayer }, this.clock.now())
    const { facts } = this.replica
    const known = facts.get(this.self)?.msPerLayer ?? msPerLayer
    const answers = [...facts.values()].reduce((sum, { running }) => sum + running, 0)
    this.replica.tell({
      engine,
      mode,
      msPerLayer: twoDigits(atWork ? msPerLayer : known),
      slowdown: twoDigits(this.#pace.slowdown),
      ...(msPerLayerPrefill !== null && {
        msPerLayerPrefill: twoDigits(msPerLayerPrefill),
      }),
      ...(msStarter !== null && { msStarter: twoDigits(msStarter) }),
      // With several answers a lap also waits for the others.
      lap:
        lapMs !== null && answers === 1
          ? { epoch: stats.epoch, ms: twoDigits(lapMs) }
          : null,
      memoryUsed: stats.memory.weights + stats.memory.caches,
      holds: stats.holds.slice(0, MAX_HELD),
    })
  }

  /** What was measured while loading, set against what this device is known to do. */
  loaded(change: Partial<Facts>): Partial<Facts> {
    const { mode, msPerLayer } = change
    if (!mode || typeof msPerLayer !== 'number') return change
    const measured = { mode, msPerLayer }
    const ms = this.#pace.loaded(measured, this.#runsLayers(), this.clock.now())
    return {
      ...change,
      msPerLayer: twoDigits(ms),
      slowdown: twoDigits(this.#pace.slowdown),
    }
  }

  /** To be called now and then: a slow device that was left out is offered after a rest. */
  rest(): void {
    if (this.#runsLayers()) return
    const rested = this.#pace.rest(this.clock.now())
    if (rested)
      this.replica.tell({ msPerLayer: twoDigits(rested.msPerLayer), slowdown: 1 })
  }

  #runsLayers(): boolean {
    const stages = this.replica.state?.active?.stages ?? []
    return stages.some(({ device }) => device === this.self)
  }
}
