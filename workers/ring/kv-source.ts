/** Gives rows of this device's caches to those whom a plan gives their layers. */
import { packRows, type CacheRows } from './cache-rows.ts'
import { MAX_ROWS, PLAIN, type Frame } from './frame.ts'
import { cachedLayers, cachesOfLayer, hasRowsOnly } from './limits.ts'
import { MOST_SEQUENCES, write, type KvList } from './messages.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import type { RingPlan } from './types.ts'

/** Copies that wait for the engine; a room mate that wants more has gone wrong. */
const MOST_WAITING = 512

export interface KvSourceOptions {
  readonly manifest: Manifest
  readonly rows: CacheRows
  /** Whether something of the sequence came here lately. */
  readonly isRunning: (sequence: number) => boolean
  /** Waits for the engine; urgent work before chunks of prompts. */
  readonly turn: <T>(isUrgent: boolean, work: () => Promise<T>) => Promise<T>
  readonly send: (device: string, frame: Frame) => void
}

export class KvSource {
  readonly #options: KvSourceOptions
  #waiting = 0

  constructor(options: KvSourceOptions) {
    this.#options = options
  }

  /**
   * Tells a device of the plan which sequences are here, in the layers that it gets: those that
   * run first, the rest newest first.
   */
  list({ stages, epoch }: RingPlan, device: string): void {
    const { rows, manifest, send, isRunning } = this.#options
    const stage = stages.find((each) => each.device === device)
    if (!stage) return
    const all = rows
      .list(cachedLayers(manifest, stage))
      .filter(([, count]) => count > 0)
      .reverse()
    const running = all.filter(([sequence]) => isRunning(sequence))
    const resting = all.filter(([sequence]) => !isRunning(sequence))
    const list: KvList = [...running, ...resting].slice(0, MOST_SEQUENCES)
    const frame = {
      ...PLAIN,
      kind: 'kv-list',
      epoch,
      sequence: 0,
      rows: Math.min(running.length, MOST_SEQUENCES),
    } as const
    send(device, { ...frame, payload: write(list) })
  }

  async give({ stages }: RingPlan, device: string, frame: Frame): Promise<void> {
    const { rows, manifest, turn, send } = this.#options
    const { sequence, tensor: layer, position: from, last, epoch } = frame
    const stage = stages.find((each) => each.device === device)
    if (!stage || layer < stage.from || layer >= stage.to) return
    if (this.#waiting >= MOST_WAITING) return
    const isWhole = !hasRowsOnly(cachesOfLayer(manifest, layer))
    const to = from + (isWhole ? frame.rows : Math.min(frame.rows, MAX_ROWS))
    this.#waiting++
    // What cannot be copied is read in again.
    const copy = await turn(last, () => rows.copy(sequence, layer, from, to))
      .catch(() => null)
      .finally(() => this.#waiting--)
    const reply = { ...PLAIN, kind: 'kv', epoch, sequence, tensor: layer, last } as const
    if (!copy) send(device, { ...reply, position: from })
    else {
      const { base, attempts } = copy
      const range = { position: from, rows: attempts.length, base }
      send(device, { ...reply, ...range, payload: packRows(copy) })
    }
  }
}
