/**
 * The plans that a device serves side by side: the active one, and the one before it until
 * nothing is fed under it any more; and the one that is prepared.
 */
import type { Clock } from './clock.ts'
import { compareEpochs } from './epoch.ts'
import type { FrameHeader, FrameKind } from './frame.ts'
import type { Serving } from './serving.ts'
import type { Epoch } from './types.ts'

/** A plan that is over serves copies for so long after the last one, ms. */
const LINGER_MS = 3000
/** What travels for a plan that is not active yet. */
const AHEAD: ReadonlySet<FrameKind> = new Set(['kv-ask', 'kv-list', 'kv-want', 'kv'])

export interface PlansOptions {
  readonly clock: Clock
  /** Nothing is run under it any more. */
  readonly onEnd: (serving: Serving) => void
  /** The plan before has ended. */
  readonly onSettled: () => void
}

export class Plans {
  readonly #options: PlansOptions
  #current: Serving | null = null
  /** Answers may not have gone over yet. */
  #previous: Serving | null = null
  #next: Serving | null = null
  #cancelTimer: () => void = () => undefined

  constructor(options: PlansOptions) {
    this.#options = options
  }

  get current(): Serving | null {
    return this.#current
  }

  get previous(): Serving | null {
    return this.#previous
  }

  /** Prepared. */
  get next(): Serving | null {
    return this.#next
  }

  get all(): Serving[] {
    return [this.#current, this.#previous, this.#next].flatMap((each) => each ?? [])
  }

  /** Under which plan a frame is heard; null: none, or not yet. */
  of({ kind, epoch }: Pick<FrameHeader, 'kind' | 'epoch'>): Serving | null {
    const served = [this.#current, this.#previous]
    const plan = served.find((each) => each && isOf(each, epoch)) ?? null
    return plan ?? (AHEAD.has(kind) ? this.prepared(epoch) : null)
  }

  prepared(epoch: Epoch): Serving | null {
    return this.#next && isOf(this.#next, epoch) ? this.#next : null
  }

  /** In place of what was prepared before. */
  prepare(next: Serving | null): void {
    this.#next?.copy?.close()
    this.#next = next
  }

  /** What was prepared, which its caller activates or closes. */
  takeNext(): Serving | null {
    const next = this.#next
    this.#next = null
    return next
  }

  /** From now on; the plan before that one has to end. */
  serve(serving: Serving): void {
    this.endPrevious()
    this.#previous = this.#current
    this.#current = serving
    if (this.#previous?.isOver) this.#linger()
  }

  /** Nothing is fed under the plan any more; others may still copy caches from here. */
  over(serving: Serving): void {
    serving.isOver = true
    if (serving === this.#previous) this.#linger()
  }

  /** A plan's new holders copy from here: what was before it is needed yet. */
  copying(serving: Serving): void {
    if (serving === this.#current && this.#previous?.isOver) this.#linger()
  }

  endPrevious(): void {
    this.#cancelTimer()
    const previous = this.#previous
    this.#previous = null
    if (!previous) return
    this.#options.onEnd(previous)
    this.#options.onSettled()
  }

  endCurrent(): void {
    const current = this.#current
    this.#current = null
    if (current) this.#options.onEnd(current)
  }

  #linger(): void {
    this.#cancelTimer()
    this.#cancelTimer = this.#options.clock.after(LINGER_MS, () => this.endPrevious())
  }
}

function isOf({ plan }: Serving, epoch: Epoch): boolean {
  return compareEpochs(plan.epoch, epoch) === 0
}
