/**
 * What makes somebody a member: a 128-bit secret. It travels in the fragment of the room's
 * link, which browsers send to no server; all that servers see is derived from it one way.
 */
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { utf8ToBytes } from '@noble/hashes/utils.js'
import { fromBase64url, toBase64url, toHex, type Random } from './bytes.ts'

export const SECRET_BYTES = 16
/** Devices that fit in a room, and peer ids under which it can be found. */
export const SLOTS = 16
/** Letters that are not mixed up when read out or typed: no I, no O. */
export const CODE_ALPHABET = 'ABCDEFGHJKLMNPQRSTUVWXYZ'
export const CODE_LENGTH = 6
/** Peer ids behind one code: one of them may be held by a device that vanished. */
const KNOCK_IDS = 3

export type Secret = Uint8Array

export function newSecret(random: Random): Secret {
  return random(SECRET_BYTES)
}

/** `page` without query and fragment, plus the secret as fragment. */
export function linkOf(page: string, secret: Secret): string {
  const url = new URL(page)
  url.search = ''
  url.hash = `room=${toBase64url(secret)}`
  return url.href
}

/** The secret in a link or fragment, or null when it is not exactly `#room=<22 letters>`. */
export function parseLink(link: string): Secret | null {
  const at = link.indexOf('#')
  if (at < 0) return null
  const match = /^#room=([A-Za-z0-9_-]{22})$/.exec(link.slice(at))
  return match?.[1] === undefined ? null : fromBase64url(match[1], SECRET_BYTES)
}

/** Takes the secret out of the address bar, and out of the history entry. */
export function hideSecret(
  location: Pick<Location, 'pathname' | 'search'>,
  history: Pick<History, 'replaceState' | 'state'>,
): void {
  history.replaceState(history.state, '', location.pathname + location.search)
}

/** The room's peer ids at the signalling server, lowest slot first. */
export function slotIds(secret: Secret): string[] {
  return Array.from({ length: SLOTS }, (_, k) => `choir-${derived(secret, `slot ${k}`)}`)
}

/** Six letters that tell nothing of the secret; they only let one knock. */
export function codeOf(secret: Secret): string {
  const bytes = hmac(sha256, secret, utf8ToBytes('code'))
  const size = CODE_ALPHABET.length
  // 48 bits modulo 24^6: the bias is below 2^-20.
  let value = bytes.slice(0, 6).reduce((sum, byte) => sum * 256 + byte, 0)
  let code = ''
  while (code.length < CODE_LENGTH) {
    code += CODE_ALPHABET.charAt(value % size)
    value = Math.floor(value / size)
  }
  return code
}

/** What was typed as a code, or null: case, spaces and hyphens don't matter. */
export function parseCode(typed: string): string | null {
  if (typed.length > 64) return null
  const code = typed.toUpperCase().replaceAll(/[\s-]/g, '')
  const form = new RegExp(`^[${CODE_ALPHABET}]{${CODE_LENGTH}}$`)
  return form.test(code) ? code : null
}

/** Peer ids at which the room with this code hears a knock. */
export function knockIds(code: string): string[] {
  return Array.from({ length: KNOCK_IDS }, (_, k) => {
    const bytes = sha256(utf8ToBytes(`choir knock ${code} ${k}`))
    return `choir-knock-${toHex(bytes.slice(0, 16))}`
  })
}

function derived(secret: Secret, label: string): string {
  return toHex(hmac(sha256, secret, utf8ToBytes(label)).slice(0, 16))
}
