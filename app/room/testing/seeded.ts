/** Repeatable random numbers (mulberry32). */
import type { Random } from '../bytes.ts'

/** The next number in [0, 1). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

export function seededBytes(seed: number): Random {
  const next = seeded(seed)
  return (bytes) => Uint8Array.from({ length: bytes }, () => Math.floor(next() * 256))
}
