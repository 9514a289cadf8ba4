import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createStreamDecoder } from './decoder.ts'

/** A decoder of bytes, as byte-level tokenizers are. */
const bytes = (ids: readonly number[]) =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(ids))
/** Strips the first space, as SentencePiece-like decoders do. */
const stripping = (ids: readonly number[]) => bytes(ids).replace(/^ /, '')

function stream(decode: (ids: readonly number[]) => string, parts: readonly number[][]) {
  const decoder = createStreamDecoder(decode)
  const shown = parts.map((part) => decoder.push(part))
  return { shown, text: shown.join('') + decoder.finish() }
}
const anyText = fc
  .array(
    fc.oneof(
      fc.constantFrom('👩‍👩‍👧‍👦', '🇩🇪', '€', 'é', ' ', 'a', '\uFEFF', '\uFFFD', '漢字'),
      fc.string({ unit: 'binary' }),
    ),
    { maxLength: 60 },
  )
  .map((parts) => [...new TextEncoder().encode(parts.join(''))])
const anyBytes = fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 200 })

describe.each([
  ['bytes', bytes],
  ['bytes, first space stripped', stripping],
])('streaming %s', (_, decode) => {
  it('gives in all what decoding at once gives, however it is cut', () => {
    fc.assert(
      fc.property(
        fc.oneof(anyText, anyBytes),
        fc.infiniteStream(fc.integer({ min: 1, max: 9 })),
        (ids, sizes) => {
          const parts: number[][] = []
          for (let at = 0; at < ids.length;) {
            const size = sizes.next().value as number
            parts.push(ids.slice(at, at + size))
            at += size
          }
          expect(stream(decode, parts).text).toBe(decode(ids))
        },
      ),
      { numRuns: 500 },
    )
  })
})

describe('a stream decoder', () => {
  it('holds an emoji back until all four bytes are there', () => {
    const parts = [...new TextEncoder().encode('a😀b')].map((byte) => [byte])
    expect(stream(bytes, parts).shown).toEqual(['a', '', '', '', '😀', 'b'])
  })

  it('shows at the end what was held back', () => {
    const { shown, text } = stream(bytes, [[0x61, 0xf0, 0x9f]])
    expect(shown).toEqual(['a'])
    expect(text).toBe('a\uFFFD')
  })

  it('decodes a short window only, however long the answer', () => {
    let longest = 0
    const decoder = createStreamDecoder((ids) => {
      longest = Math.max(longest, ids.length)
      return bytes(ids)
    })
    for (let n = 0; n < 2_000; n++) decoder.push([0x61 + (n % 26)])
    expect(longest).toBeLessThan(40)
  })
})
