/** How long to wait before another try. */

/** Tries in a row that may fail without new bytes. */
export const MAX_TRIES = 6
/** A server that asks for a longer pause has refused. */
export const MAX_RETRY_AFTER_MS = 10 * 60_000
const FIRST_MS = 500
const LONGEST_MS = 30_000

/**
 * Exponential with jitter: between half and all of 0.5 s, 1 s, 2 s, … 30 s.
 * @param failures so far, from 1.
 * @param random in [0, 1).
 */
export function backoff(failures: number, random: number): number {
  const most = Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1))
  return most * (0.5 + random / 2)
}
