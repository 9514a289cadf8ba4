/** Whether one answer runs at a time or several; a short overlap does not count. */
import type { Load } from './deal.ts'

/** So long several answers must run before the room is planned for them, ms. */
export const SEVERAL_MS = 2000
/** So long after the last time it is planned for one again, ms. */
export const ONE_MS = 30_000

export interface LoadMemory {
  readonly load: Load
  /** Since when several run. */
  readonly since: number | null
  /** When several ran last. */
  readonly lastAt: number
}

export const ONE_ANSWER: LoadMemory = { load: 'lap', since: null, lastAt: -Infinity }

/** @param running answers that are under way in the room. */
export function followLoad(memory: LoadMemory, running: number, now: number): LoadMemory {
  if (running < 2) {
    const load = now - memory.lastAt >= ONE_MS ? 'lap' : memory.load
    return { ...memory, load, since: null }
  }
  const since = memory.since ?? now
  return { load: now - since >= SEVERAL_MS ? 'stage' : memory.load, since, lastAt: now }
}
