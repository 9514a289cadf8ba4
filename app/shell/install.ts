/** The browser's offer to install the app, which may come before any element listens. */

interface InstallEvent extends Event {
  prompt(): Promise<unknown>
}

function isInstallEvent(event: Event): event is InstallEvent {
  return 'prompt' in event
}

class InstallOffer extends EventTarget {
  private event: InstallEvent | null = null

  get available(): boolean {
    return this.event !== null
  }

  listen(page: EventTarget): void {
    page.addEventListener('beforeinstallprompt', (event) => {
      if (!isInstallEvent(event)) return
      event.preventDefault()
      this.set(event)
    })
    page.addEventListener('appinstalled', () => this.set(null))
  }

  async accept(): Promise<void> {
    const { event } = this
    // Each event can be used once, whatever the person answers.
    this.set(null)
    await event?.prompt()
  }

  private set(event: InstallEvent | null): void {
    this.event = event
    this.dispatchEvent(new Event('change'))
  }
}

export const installOffer = new InstallOffer()

/** Opened from the home screen. */
export function isInstalled(): boolean {
  return matchMedia('(display-mode: standalone), (display-mode: minimal-ui)').matches
}
