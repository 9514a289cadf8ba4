/** How much a peer may send. */
import type { Clock } from './clock.ts'

/** Lets `burst` messages through at once and `perSecond` on average. */
export class TokenBucket {
  #tokens: number
  #at: number

  constructor(
    private readonly clock: Clock,
    private readonly burst: number,
    private readonly perSecond: number,
  ) {
    this.#tokens = burst
    this.#at = clock.now()
  }

  /** Whether one more may pass now. */
  take(): boolean {
    const now = this.clock.now()
    const gained = ((now - this.#at) / 1000) * this.perSecond
    this.#tokens = Math.min(this.burst, this.#tokens + gained)
    this.#at = now
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }
}
