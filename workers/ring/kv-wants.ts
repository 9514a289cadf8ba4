/** Rows of other devices' caches that were asked for and have not come. */
import type { Manifest } from '../../model-split/manifest.ts'
import { unpackRows, type RowCopy } from './cache-rows.ts'
import type { Clock } from './clock.ts'
import { PLAIN, type Frame } from './frame.ts'
import { cachesOfLayer } from './limits.ts'

/** Wanted rows that don't come are not waited for any longer, ms. */
const WANT_MS = 5000

export interface KvWantsOptions {
  readonly manifest: Manifest
  readonly clock: Clock
  /** False: there is no link. */
  readonly send: (device: string, frame: Omit<Frame, 'epoch'>) => boolean
}

/** Rows `[from, from + count)` of a layer. */
export interface WantedRows {
  readonly sequence: number
  readonly layer: number
  readonly from: number
  readonly count: number
  /** A chunk waits for them. */
  readonly isUrgent: boolean
}

interface Want {
  readonly device: string
  readonly rows: WantedRows
  readonly done: (copy: RowCopy | null) => void
}

export class KvWants {
  readonly #options: KvWantsOptions
  /** In the order in which they were asked for. */
  readonly #wants = new Map<string, Want>()

  constructor(options: KvWantsOptions) {
    this.#options = options
  }

  /** What of these rows the device has; null: none, or they don't come. */
  ask(device: string, rows: WantedRows): Promise<RowCopy | null> {
    const { clock, send } = this.#options
    const { sequence, layer, from, count, isUrgent } = rows
    const key = keyOf(sequence, layer, from)
    return new Promise((resolve) => {
      const cancel = clock.after(WANT_MS, () => this.#end(key, null))
      const done = (copy: RowCopy | null) => {
        cancel()
        resolve(copy)
      }
      this.#wants.set(key, { device, rows, done })
      const part = { kind: 'kv-want', sequence, tensor: layer } as const
      const range = { position: from, rows: count, last: isUrgent }
      if (!send(device, { ...PLAIN, ...part, ...range })) this.#end(key, null)
    })
  }

  /** Rows, if they are those that were asked for. */
  receive(device: string, frame: Frame): void {
    const { sequence, tensor: layer, position: from, rows, base } = frame
    const key = keyOf(sequence, layer, from)
    const want = this.#wants.get(key)
    if (want?.device !== device || rows > want.rows.count) return
    const caches = cachesOfLayer(this.#options.manifest, layer)
    const copy = { from, base, ...unpackRows(caches, rows, frame.payload) }
    this.#end(key, rows > 0 ? copy : null)
  }

  /** These are not waited for any longer. */
  drop(which: (rows: WantedRows, device: string) => boolean): void {
    for (const [key, { rows, device }] of [...this.#wants])
      if (which(rows, device)) this.#end(key, null)
  }

  #end(key: string, copy: RowCopy | null): void {
    const want = this.#wants.get(key)
    this.#wants.delete(key)
    want?.done(copy)
  }
}

function keyOf(sequence: number, layer: number, from: number): string {
  return `${sequence}:${layer}:${from}`
}
