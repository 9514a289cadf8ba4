/** How far the room is with its weights, and how long it may still take. */
import type { DeviceView } from '../room/types.ts'

export interface Progress {
  /** `fetching` while any phone still downloads, then `loading` into memory. */
  readonly phase: 'fetching' | 'loading'
  readonly done: number
  readonly total: number
}

/** Bytes over all phones in the phase that the slowest one is in. */
export function roomProgress(devices: readonly DeviceView[]): Progress | null {
  for (const phase of ['fetching', 'loading'] as const) {
    let done = 0
    let total = 0
    for (const { state } of devices)
      if (state.kind === phase) {
        done += Math.min(state.doneBytes, state.totalBytes)
        total += state.totalBytes
      }
    if (total > 0) return { phase, done, total }
  }
  return null
}

/** Fraction of one phone's own work, 0 to 1. */
export function deviceFraction({ state }: DeviceView): number {
  if (state.kind === 'ready') return 1
  if (state.kind !== 'fetching' && state.kind !== 'loading') return 0
  return state.totalBytes > 0 ? Math.min(1, state.doneBytes / state.totalBytes) : 0
}

/** Speed over the last seconds; starts anew when the numbers jump (another plan). */
export class RateMeter {
  private samples: {
    readonly at: number
    readonly done: number
    readonly total: number
  }[] = []

  constructor(private readonly windowMs = 10_000) {}

  add(now: number, done: number, total: number): void {
    const last = this.samples.at(-1)
    if (last && (done < last.done || total !== last.total)) this.samples = []
    else if (last?.at === now) this.samples.pop()
    this.samples.push({ at: now, done, total })
    while (this.samples.length > 2 && now - (this.samples[1]?.at ?? now) > this.windowMs)
      this.samples.shift()
  }

  clear(): void {
    this.samples = []
  }

  /** Null until a second was measured. */
  secondsLeft(): number | null {
    const first = this.samples[0]
    const last = this.samples.at(-1)
    if (!first || !last || last.at - first.at < 1000 || last.done <= first.done)
      return null
    const perMs = (last.done - first.done) / (last.at - first.at)
    return (last.total - last.done) / perMs / 1000
  }
}
