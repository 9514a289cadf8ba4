/** Who this device is, over reloads of its page. */
import { fromBase64url, toBase64url, type Random } from './bytes.ts'
import type { Identity } from './handshake.ts'

const KEY = 'choir-device'

/** Where a few letters survive a reload; a tab's own storage, so that two tabs differ. */
export type SmallStore = Pick<Storage, 'getItem' | 'setItem'>

/** @param epochMs ms since 1970: of two pages of one device the later one is kept. */
export function identify(
  store: SmallStore | null,
  random: Random,
  epochMs: number,
): Identity {
  const start = Math.max(0, Math.floor(epochMs)).toString(36).padStart(9, '0').slice(-9)
  return {
    device: deviceId(store, random),
    instance: `${start}-${toBase64url(random(8))}`,
  }
}

function deviceId(store: SmallStore | null, random: Random): string {
  // Storage may be denied altogether: then a reload is another device.
  try {
    const known = store?.getItem(KEY) ?? null
    if (known !== null && fromBase64url(known, 16)) return known
  } catch {
    return toBase64url(random(16))
  }
  const device = toBase64url(random(16))
  try {
    store?.setItem(KEY, device)
  } catch {
    // As above.
  }
  return device
}
