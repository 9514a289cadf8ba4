/**
 * Proves over an open connection that both ends know the room's secret, and that nobody sits
 * between them: the proof covers the DTLS fingerprints, and whoever relays has other ones.
 */
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { utf8ToBytes } from '@noble/hashes/utils.js'
import { sameBytes, toBase64url, type Random } from './bytes.ts'
import type { Secret } from './secret.ts'

export const NONCE_BYTES = 16
/** A connection that is not proven by then is closed, ms. */
export const PROOF_LIMIT_MS = 10_000

export type Side = 'caller' | 'answerer'

/** What one end says of itself before the proof. */
export interface Party {
  readonly device: string
  readonly instance: string
  readonly nonce: string
}

/** All that both ends must agree on. */
export interface Transcript {
  /** Fingerprint lines of both session descriptions. */
  readonly fingerprints: readonly string[]
  readonly caller: Party
  readonly answerer: Party
}

export function newNonce(random: Random): string {
  return toBase64url(random(NONCE_BYTES))
}

/** Fingerprints named in a session description, in capitals. */
export function fingerprintsOf(sdp: string): string[] {
  return [...sdp.matchAll(/^a=fingerprint:(\S+) (\S+)\s*$/gm)].map(
    ([, hash, value]) => `${hash?.toLowerCase() ?? ''} ${value?.toUpperCase() ?? ''}`,
  )
}

/** HMAC-SHA-256(secret, label | role | fingerprints | ids | nonces), base64url. */
export function proofOf(secret: Secret, side: Side, transcript: Transcript): string {
  const { fingerprints, caller, answerer } = transcript
  // JSON of a fixed shape keeps the parts apart: no two transcripts have the same bytes.
  const message = JSON.stringify([
    'choir proof 1',
    side,
    [...new Set(fingerprints)].sort(),
    [caller.device, caller.instance, caller.nonce],
    [answerer.device, answerer.instance, answerer.nonce],
  ])
  return toBase64url(hmac(sha256, secret, utf8ToBytes(message)))
}

/** Whether `mac` is the proof of the other end, which has the role `side`. */
export function proves(
  secret: Secret,
  side: Side,
  transcript: Transcript,
  mac: string,
): boolean {
  if (transcript.fingerprints.length < 2) return false
  return sameBytes(utf8ToBytes(proofOf(secret, side, transcript)), utf8ToBytes(mac))
}

/** What the guest sends before it learns the host's nonce. */
export function commitmentOf(nonce: string): string {
  return toBase64url(sha256(utf8ToBytes(`choir commitment ${nonce}`)))
}

/**
 * Six digits that are the same on both screens only if nobody sits in between. The guest's
 * nonce is committed to before the host's is known, so neither a relay nor an end can search
 * for digits that fit: one try in a million.
 */
export function digitsOf(
  fingerprints: readonly string[],
  code: string,
  guestNonce: string,
  hostNonce: string,
): string {
  const message = ['choir digits 1', [...new Set(fingerprints)].sort(), code, guestNonce]
  const bytes = sha256(utf8ToBytes(JSON.stringify([...message, hostNonce])))
  const value = bytes.slice(0, 6).reduce((sum, byte) => sum * 256 + byte, 0)
  return String(value % 1_000_000).padStart(6, '0')
}
