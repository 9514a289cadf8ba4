/** Which room this tab is in, so that a reload comes back to it; gone with the tab. */
const KEY = 'choir.room'

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
      if (link) sessionStorage.setItem(KEY, link)
      else sessionStorage.removeItem(KEY)
    } catch {
      // Without storage a reload starts at the beginning.
    }
  },
}
