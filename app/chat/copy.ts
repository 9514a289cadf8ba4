/** Puts text on the clipboard, where the page may. */
import { announce } from '../shell/announcer.ts'

/** How long a button says that it worked, ms. */
export const COPIED_MS = 2000

/** @returns whether it worked; screen readers hear either. */
export async function copyText(text: string, what: string): Promise<boolean> {
  try {
    // Without https there is no clipboard.
    await navigator.clipboard.writeText(text)
    announce(`${what} is copied.`)
    return true
  } catch {
    announce('This page may not copy. Select the text and copy it by hand.')
    return false
  }
}
