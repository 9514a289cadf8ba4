import { setTimeout } from 'node:timers/promises'

export type Sleep = (milliseconds: number, signal?: AbortSignal) => Promise<void>

/** Waits; rejects at once where the signal is aborted. */
export const waitFor: Sleep = (milliseconds, signal) =>
  setTimeout(milliseconds, undefined, signal ? { signal } : {})
