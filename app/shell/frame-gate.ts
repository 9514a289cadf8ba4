/**
 * Passes on many changes as one per painted frame, and no more often than people can follow:
 * painting takes time from the engine. Hidden pages get them by a timer.
 */

/** Least time between two passes, ms. */
export const LEAST_MS = 100

export class FrameGate {
  private waiting = false
  private last = -Infinity

  constructor(private readonly pass: () => void) {}

  open(): void {
    if (this.waiting) return
    this.waiting = true
    const rest = this.last + LEAST_MS - performance.now()
    if (rest > 0) setTimeout(() => this.soon(), rest)
    else this.soon()
  }

  private soon(): void {
    const go = (): void => {
      if (!this.waiting) return
      this.waiting = false
      this.last = performance.now()
      this.pass()
    }
    // Whichever comes first: frames stop when the page is hidden.
    requestAnimationFrame(go)
    setTimeout(go, 100)
  }
}
