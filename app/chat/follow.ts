/** Keeps the newest line in view until the reader scrolls away. */
import type { ReactiveController, ReactiveControllerHost } from 'lit'

/** Distance from the end, CSS pixels, that still counts as reading the newest line. */
const NEAR = 60

export class FollowEnd implements ReactiveController {
  /** The reader is elsewhere. */
  away = false
  private scroller: HTMLElement | null = null
  private readonly sizes = new ResizeObserver(() => this.keep())

  constructor(private readonly host: ReactiveControllerHost) {
    host.addController(this)
  }

  /** @param content grows inside `scroller`. */
  attach(scroller: HTMLElement, content: HTMLElement): void {
    this.scroller = scroller
    scroller.addEventListener('scroll', this.look, { passive: true })
    this.sizes.observe(scroller)
    this.sizes.observe(content)
  }

  hostDisconnected(): void {
    this.sizes.disconnect()
    this.scroller?.removeEventListener('scroll', this.look)
  }

  /** To the end, whatever the reader did: they asked or pressed the button. */
  jump(): void {
    this.set(false)
    this.keep()
  }

  private keep(): void {
    if (!this.away && this.scroller) this.scroller.scrollTop = this.scroller.scrollHeight
  }

  private readonly look = (): void => {
    const { scroller } = this
    if (!scroller) return
    this.set(scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight > NEAR)
  }

  private set(away: boolean): void {
    if (away === this.away) return
    this.away = away
    this.host.requestUpdate()
  }
}
