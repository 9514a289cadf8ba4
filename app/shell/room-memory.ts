/** Which room this tab is in, so that a reload comes back to it; gone with the tab. */
const KEY = 'choir.room'
/** Set once this tab has really been in that room. */
const INSIDE = 'choir.room.inside'

export const roomMemory = {
  get(): string | null {
    try {
      return sessionStorage.getItem(KEY)
    } catch {
      return null
    }
  },

  set(link: string | null): void {
    try {
      if (link !== sessionStorage.getItem(KEY)) sessionStorage.removeItem(INSIDE)
      if (link) sessionStorage.setItem(KEY, link)
      else sessionStorage.removeItem(KEY)
    } catch {
      // Without storage a reload starts at the beginning.
    }
  },

  get inside(): boolean {
    try {
      return sessionStorage.getItem(INSIDE) !== null
    } catch {
      return false
    }
  },

  enter(link: string): void {
    this.set(link)
    try {
      sessionStorage.setItem(INSIDE, 'yes')
    } catch {
      // As above.
    }
  },
}
