/**
 * Passes on many changes as one per painted frame, and no more often than people can follow:
 * painting takes time from the engine, so where it takes long it is done less often. What a
 * person does is shown at once. Hidden pages get changes by a timer.
 */

/** Least time between two passes, ms. */
export const LEAST_MS = 100
/** A pass is not put off for longer, however long painting takes, ms. */
export const MOST_MS = 250
/** Painting takes one part in so many of the page's time. */
const PARTS = 20
/** A frame that has not come by then does not come, ms. */
const HIDDEN_MS = 100

export class FrameGate {
  private waiting = false
  private resting: ReturnType<typeof setTimeout> | undefined
  private last = -Infinity
  private rest = LEAST_MS

  constructor(private readonly pass: () => void) {}

  open(): void {
    if (this.waiting) return
    this.waiting = true
    const left = this.last + this.rest - performance.now()
    if (left > 0) this.resting = setTimeout(() => this.soon(), left)
    else this.soon()
  }

  /** The next change passes in the next frame. */
  hurry(): void {
    this.last = -Infinity
    if (this.resting !== undefined) this.soon()
  }

  private soon(): void {
    clearTimeout(this.resting)
    this.resting = undefined
    const go = (): void => {
      cancelAnimationFrame(frame)
      clearTimeout(timer)
      this.waiting = false
      this.last = performance.now()
      this.pass()
      // Once the page has painted.
      setTimeout(() => this.painted(performance.now() - this.last))
    }
    // Whichever comes first: frames stop when the page is hidden.
    const frame = requestAnimationFrame(go)
    const timer = setTimeout(go, HIDDEN_MS)
  }

  private painted(ms: number): void {
    this.rest = Math.min(MOST_MS, Math.max(LEAST_MS, PARTS * ms))
  }
}
