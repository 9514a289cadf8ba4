import { expect, test } from 'vitest'
import { fromBase64url, toBase64url } from './bytes.ts'
import {
  CODE_ALPHABET,
  codeOf,
  hideSecret,
  knockIds,
  linkOf,
  newSecret,
  parseCode,
  parseLink,
  slotIds,
} from './secret.ts'
import { seededBytes } from './testing/seeded.ts'

const secret = newSecret(seededBytes(1))

test('a link carries the secret in its fragment and nowhere else', () => {
  const link = linkOf('https://choir.test/app/?x=1#old', secret)
  expect(link).toMatch(/^https:\/\/choir\.test\/app\/#room=[A-Za-z0-9_-]{22}$/)
  expect(parseLink(link)).toEqual(secret)
  expect(parseLink(new URL(link).hash)).toEqual(secret)
})

test.each([
  '',
  '#room=',
  '#room=short',
  `#room=${'A'.repeat(21)}`,
  `#room=${'A'.repeat(23)}`,
  // The last letter carries four unused bits, which must be zero.
  `#room=${'A'.repeat(21)}B`,
  `#room=${'A'.repeat(21)}=`,
  `#other&room=${'A'.repeat(22)}`,
  `#room=${'A'.repeat(22)}#room=${'A'.repeat(22)}`,
  `room=${'A'.repeat(22)}`,
])('%j is no room link', (link) => expect(parseLink(link)).toBeNull())

test('the secret leaves the address bar', () => {
  const calls: unknown[][] = []
  hideSecret(
    { pathname: '/app/', search: '?x=1' },
    { state: 7, replaceState: (...call) => void calls.push(call) },
  )
  expect(calls).toEqual([[7, '', '/app/?x=1']])
})

test('peer ids are many, distinct, fit PeerJS, and tell nothing of the secret', () => {
  const ids = [...slotIds(secret), ...knockIds(codeOf(secret))]
  expect(new Set(ids).size).toBe(19)
  for (const id of ids) {
    expect(id).toMatch(/^[A-Za-z0-9]+(?:[ _-][A-Za-z0-9]+)*$/)
    expect(id).not.toContain(toBase64url(secret))
  }
  expect(slotIds(newSecret(seededBytes(2)))).not.toContain(ids[0])
})

test('a code is six letters that can be read out, however they are typed', () => {
  const code = codeOf(secret)
  expect(code).toMatch(new RegExp(`^[${CODE_ALPHABET}]{6}$`))
  expect(parseCode(` ${code.slice(0, 3).toLowerCase()}-${code.slice(3)} `)).toBe(code)
  expect(parseCode('ABCDE')).toBeNull()
  expect(parseCode('ABCDEO')).toBeNull()
  expect(parseCode('A'.repeat(1e6))).toBeNull()
})

test('base64url has one spelling for each value', () => {
  const bytes = seededBytes(3)(16)
  expect(fromBase64url(toBase64url(bytes), 16)).toEqual(bytes)
  expect(fromBase64url('+'.repeat(22), 16)).toBeNull()
})
