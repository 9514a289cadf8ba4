/** Which address to put into links for other devices. */
import * as v from 'valibot'

const originFile = v.object({ origins: v.array(v.pipe(v.string(), v.url())) })

/**
 * An origin of this app that other devices can open, or null when only this computer can
 * (started without `--lan`): then a link is shown, but no QR code.
 * @param here the page's own location.
 */
export async function reachableOrigin(
  here: { readonly origin: string; readonly hostname: string },
  get: (url: string) => Promise<Response>,
): Promise<string | null> {
  if (!isLoopback(here.hostname)) return here.origin
  try {
    const response = await get('choir-origin.json')
    const parsed = v.safeParse(originFile, await response.json())
    return (parsed.success && parsed.output.origins[0]) || null
  } catch {
    return null
  }
}

function isLoopback(host: string): boolean {
  return /^(?:.*\.)?localhost$|^127\.|^\[::1\]$/.test(host)
}
