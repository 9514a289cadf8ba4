/** What the page may ask of its service worker. */

export type ShellMessage =
  /** The new version may take over; named as workbox-window names it. */
  | { readonly type: 'SKIP_WAITING' }
  /** Keep these files of the one runtime that this device uses, and no others. */
  | { readonly type: 'cache-runtime'; readonly urls: readonly string[] }

/** WASM binaries of the runtime and the scripts that go with them. */
export function isRuntimeFile(url: URL): boolean {
  return /\/assets\/ort-[\w.-]+\.(?:wasm|mjs)$/.test(url.pathname)
}

/** @returns the message with absolute URLs of this origin, or null when it is none. */
export function messageFrom(data: unknown, origin: string): ShellMessage | null {
  if (typeof data !== 'object' || data === null || !('type' in data)) return null
  if (data.type === 'SKIP_WAITING') return { type: 'SKIP_WAITING' }
  if (data.type !== 'cache-runtime' || !('urls' in data) || !Array.isArray(data.urls))
    return null
  const urls = (data.urls as unknown[]).slice(0, 8).flatMap((url) => {
    if (typeof url !== 'string' || !URL.canParse(url, origin)) return []
    const parsed = new URL(url, origin)
    return parsed.origin === origin && isRuntimeFile(parsed) ? [parsed.href] : []
  })
  return { type: 'cache-runtime', urls }
}
