/** Passes on many changes as one per painted frame; hidden pages get them by a timer. */
export class FrameGate {
  private waiting = false

  constructor(private readonly pass: () => void) {}

  open(): void {
    if (this.waiting) return
    this.waiting = true
    const go = (): void => {
      if (!this.waiting) return
      this.waiting = false
      this.pass()
    }
    // Whichever comes first: frames stop when the page is hidden.
    requestAnimationFrame(go)
    setTimeout(go, 100)
  }
}
