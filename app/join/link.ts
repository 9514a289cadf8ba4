/** Room links: what a scanned or pasted text is, and which link other phones can open. */

export type FoundLink =
  | { readonly kind: 'room'; readonly link: string }
  /** A room link of another Choir: this page can't join it, but it can be opened. */
  | { readonly kind: 'elsewhere'; readonly link: string; readonly host: string }
  | { readonly kind: 'none' }

/** Longer texts are no room link and are not parsed. */
const LONGEST = 2048

/** Whether the fragment of an address names a room. */
export function hasRoom(hash: string): boolean {
  return /^#(?:.*&)?room=[^&]+/.test(hash)
}

/**
 * @param text scanned or pasted; may have words around the link.
 * @param page address of this page.
 */
export function findLink(text: string, page: string): FoundLink {
  if (text.length > LONGEST) return { kind: 'none' }
  const trimmed = text.trim()
  const own = new URL(page)
  if (/^#?room=\S+$/.test(trimmed)) {
    own.hash = trimmed.replace(/^#/, '')
    return { kind: 'room', link: own.href }
  }
  const candidate = /https?:\/\/\S+/i.exec(trimmed)?.[0]
  if (candidate === undefined || !URL.canParse(candidate)) return { kind: 'none' }
  const url = new URL(candidate)
  if (!hasRoom(url.hash)) return { kind: 'none' }
  return url.origin === own.origin ||
    (isLoopback(own.hostname) && isLoopback(url.hostname))
    ? { kind: 'room', link: url.href }
    : { kind: 'elsewhere', link: url.href, host: url.host }
}

/** An address that only this device itself can open. */
export function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname.endsWith('.localhost') ||
    hostname === '[::1]' ||
    hostname === '::1' ||
    /^127(\.\d{1,3}){3}$/.test(hostname)
  )
}

/**
 * The link as other phones can open it, or null where no address leaves this device.
 * @param origin of the app as phones reach it, if they do.
 */
export function openLink(link: string, origin: string | null): string | null {
  if (origin === null || !URL.canParse(link) || !URL.canParse(origin)) return null
  const url = new URL(link)
  return new URL(origin).origin + url.pathname + url.search + url.hash
}

/** Letters that are hard to mix up; a code has six of them. */
export const CODE_LENGTH = 6

/** What was typed, as a code: upper case, letters only, at most six. */
export function cleanCode(typed: string): string {
  return typed
    .toUpperCase()
    .replace(/[^A-Z]/g, '')
    .slice(0, CODE_LENGTH)
}
