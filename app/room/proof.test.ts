import { expect, test } from 'vitest'
import {
  commitmentOf,
  digitsOf,
  fingerprintsOf,
  newNonce,
  proofOf,
  proves,
  type Transcript,
} from './proof.ts'
import { newSecret } from './secret.ts'
import { seededBytes } from './testing/seeded.ts'

const random = seededBytes(1)
const secret = newSecret(random)
const party = (device: string) => ({ device, instance: 'i', nonce: newNonce(random) })
const transcript: Transcript = {
  fingerprints: ['sha-256 AA', 'sha-256 BB'],
  caller: party('a'),
  answerer: party('b'),
}

test('a proof holds for its own role, transcript and secret only', () => {
  const mac = proofOf(secret, 'caller', transcript)
  expect(proves(secret, 'caller', transcript, mac)).toBe(true)
  expect(proves(secret, 'answerer', transcript, mac)).toBe(false)
  expect(proves(newSecret(random), 'caller', transcript, mac)).toBe(false)
  const relayed = { ...transcript, fingerprints: ['sha-256 AA', 'sha-256 CC'] }
  expect(proves(secret, 'caller', relayed, mac)).toBe(false)
  const { caller, answerer } = transcript
  for (const changed of [
    { ...transcript, caller: { ...caller, nonce: newNonce(random) } },
    { ...transcript, answerer: { ...answerer, device: 'c' } },
    { ...transcript, caller: { ...caller, instance: 'j' } },
    { ...transcript, caller: answerer, answerer: caller },
  ])
    expect(proves(secret, 'caller', changed, mac)).toBe(false)
})

test('both ends list the fingerprints in their own order', () => {
  const turned = { ...transcript, fingerprints: ['sha-256 BB', 'sha-256 AA'] }
  const mac = proofOf(secret, 'caller', transcript)
  expect(proves(secret, 'caller', turned, mac)).toBe(true)
})

test('without fingerprints nothing is proven', () => {
  const bare = { ...transcript, fingerprints: [] }
  expect(proves(secret, 'caller', bare, proofOf(secret, 'caller', bare))).toBe(false)
})

test('fingerprints come out of a session description in one spelling', () => {
  const sdp = 'v=0\r\na=fingerprint:SHA-256 ab:cd\r\nm=x\r\na=fingerprint:sha-512 EF\r\n'
  expect(fingerprintsOf(sdp)).toEqual(['sha-256 AB:CD', 'sha-512 EF'])
})

test('six digits depend on both nonces, the code and the fingerprints', () => {
  const prints = transcript.fingerprints
  const digits = digitsOf(prints, 'ABCDEF', 'g', 'h')
  expect(digits).toMatch(/^\d{6}$/)
  expect(digitsOf([...prints].reverse(), 'ABCDEF', 'g', 'h')).toBe(digits)
  const others = [
    digitsOf(prints, 'ABCDEG', 'g', 'h'),
    digitsOf(prints, 'ABCDEF', 'x', 'h'),
    digitsOf(prints, 'ABCDEF', 'g', 'x'),
    digitsOf(['sha-256 AA', 'sha-256 CC'], 'ABCDEF', 'g', 'h'),
  ]
  expect(others).not.toContain(digits)
  expect(commitmentOf('g')).not.toBe(commitmentOf('h'))
})
