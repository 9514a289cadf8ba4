/** Keeps the screen on while this device lends layers. */
import type { ReactiveController, ReactiveControllerHost } from 'lit'

/** `held`, or why not: the browser has no such thing, or it refuses (battery saver). */
export type WakeState = 'held' | 'off' | 'unsupported' | 'refused'

export class ScreenWake implements ReactiveController {
  state: WakeState = 'wakeLock' in navigator ? 'off' : 'unsupported'
  private sentinel: WakeLockSentinel | null = null
  private wanted = false

  constructor(private readonly host: ReactiveControllerHost) {
    host.addController(this)
  }

  hostConnected(): void {
    this.wanted = true
    document.addEventListener('visibilitychange', this.request)
    // Older iOS grants it only in answer to a touch.
    document.addEventListener('pointerup', this.request)
    this.request()
  }

  hostDisconnected(): void {
    this.wanted = false
    document.removeEventListener('visibilitychange', this.request)
    document.removeEventListener('pointerup', this.request)
    void this.sentinel?.release()
    this.sentinel = null
  }

  private readonly request = (): void => {
    if (this.state === 'unsupported' || this.sentinel || !this.wanted) return
    if (document.visibilityState !== 'visible') return
    navigator.wakeLock.request('screen').then(
      (sentinel) => {
        if (!this.wanted || this.sentinel) return void sentinel.release()
        this.sentinel = sentinel
        this.set('held')
        // The browser lets go whenever the page is hidden.
        sentinel.addEventListener('release', () => {
          this.sentinel = null
          this.set('off')
        })
      },
      () => this.set('refused'),
    )
  }

  private set(state: WakeState): void {
    if (state === this.state) return
    this.state = state
    this.host.requestUpdate()
  }
}
