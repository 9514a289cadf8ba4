/** What hangs on this device's engine: its caches, and who computes with or copies from them. */
import type { Manifest } from '../../model-split/manifest.ts'
import type { Engine } from '../stage/types.ts'
import { CacheRows } from './cache-rows.ts'
import type { Clock } from './clock.ts'
import { KvCopy } from './kv-copy.ts'
import { KvSource } from './kv-source.ts'
import { CALLS } from './scheduler.ts'
import { StageNode, type NodeOptions } from './stage-node.ts'
import type { RingPlan } from './types.ts'

/** Copies queue up apart from all sequences: as a chunk of a prompt does, or as a step. */
const COPIES = -1
const URGENT_COPIES = -2

export interface HoldingOptions extends Omit<NodeOptions, 'rows' | 'now'> {
  readonly manifest: Manifest
  readonly clock: Clock
}

export class Holding {
  readonly engine: Engine
  readonly node: StageNode
  readonly source: KvSource
  readonly #options: HoldingOptions
  readonly #rows: CacheRows

  constructor(options: HoldingOptions) {
    const { engine, manifest, clock, send } = options
    this.#options = options
    this.engine = engine
    this.#rows = new CacheRows(engine)
    const rows = this.#rows
    const turn = this.#turn.bind(this)
    this.node = new StageNode({ ...options, rows, now: () => clock.now() })
    this.source = new KvSource({
      ...{ manifest, rows, turn, send },
      isRunning: (sequence) => this.node.isRunning(sequence),
    })
  }

  /** Brings layers here that others hold by the plan before; not begun yet. */
  copy(
    { epoch }: RingPlan,
    sources: ReadonlyMap<number, string>,
    cacheBudget: number,
  ): KvCopy {
    const { manifest, clock, send, engine } = this.#options
    return new KvCopy({
      manifest,
      clock,
      sources,
      rows: this.#rows,
      turn: this.#turn.bind(this),
      send: (device, frame) => send(device, { ...frame, epoch }),
      isLive: (sequence) => this.node.isLive(sequence, epoch),
      hasRoom: () => engine.memory().caches < cacheBudget,
    })
  }

  #turn<T>(isUrgent: boolean, work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#options.scheduler.add({
        sequence: isUrgent ? URGENT_COPIES : COPIES,
        isStep: isUrgent,
        task: () => work().then(resolve, reject),
        work: CALLS,
      })
    })
  }
}
