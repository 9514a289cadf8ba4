import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat } from '../../model-split/link/wire.ts'
import { DTYPES } from '../../model-split/manifest.ts'
import {
  decodeFrame,
  decodeFrames,
  encodeFrame,
  HEADER_BYTES,
  KINDS,
  PLAIN,
  type Frame,
} from './frame.ts'
import { wireRules } from './limits.ts'
import { readAnswer, readAsk, readFault } from './messages.ts'
import { fakeManifest } from './testing/fake-model.ts'
import { randomFrom } from './testing/fake-room.ts'

const u16 = fc.nat(0xffff)
const u32 = fc.nat(0xffff_ffff)
const flags = fc.constantFrom([false, false], [true, false], [true, true])
const anyFrame: fc.Arbitrary<Frame> = fc
  .record({
    kind: fc.constantFrom(...KINDS),
    dtype: fc.constantFrom(null, ...DTYPES),
    flags,
    epoch: fc.record({ term: u32, number: u32 }),
    sequence: u32,
    attempt: u32,
    base: u32,
    position: u32,
    rows: u16,
    tensor: u16,
    payload: fc.uint8Array({ maxLength: 300 }),
  })
  .map(({ flags: [last = false, draft = false], ...rest }) => ({ ...rest, last, draft }))
const anything = () => ({ least: 0, most: 2 ** 32 })

describe('frames', () => {
  it('come back as they were, for all kinds and element types', () => {
    fc.assert(
      fc.property(anyFrame, fc.nat(9), (frame, shift) => {
        const bytes = encodeFrame(frame)
        const shifted = new Uint8Array(bytes.length + shift).subarray(shift)
        shifted.set(bytes)
        expect(decodeFrame(shifted, anything)).toEqual(frame)
      }),
    )
  })

  it('may come several in a message, all of them sound or none taken', () => {
    const some = fc.array(anyFrame, { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(some, fc.nat(), (frames, place) => {
        const message = concat(frames.map(encodeFrame))
        expect(decodeFrames(message, anything)).toEqual(frames)
        const short = message.subarray(0, place % message.length)
        const whole = decodeFrames(short, anything)
        if (whole) expect(frames.slice(0, whole.length)).toEqual(whole)
        expect(decodeFrames(concat([message, short]), anything) === null).toBe(
          whole === null && short.length > 0,
        )
      }),
    )
  })

  it('are refused where a draft does not ask for the head, or flags are unknown', () => {
    const bytes = encodeFrame({
      ...{ ...PLAIN, kind: 'hidden', last: true, draft: true },
      ...{ epoch: { term: 1, number: 1 }, sequence: 1 },
    })
    expect(bytes[3]).toBe(3)
    expect(decodeFrame(bytes, anything)).toMatchObject({ last: true, draft: true })
    for (const flags of [2, 4, 7, 255])
      expect(decodeFrame(bytes.with(3, flags), anything)).toBeNull()
  })

  it('lie on the wire as the protocol says', () => {
    const frame: Frame = {
      ...PLAIN,
      kind: 'hidden',
      dtype: 'float16',
      last: true,
      epoch: { term: 0x01020304, number: 0x05060708 },
      sequence: 0x090a0b0c,
      attempt: 0x0d0e0f10,
      base: 0x11121314,
      position: 0x15161718,
      rows: 0x191a,
      tensor: 0x1b1c,
      payload: Uint8Array.of(0xaa, 0xbb),
    }
    expect(Buffer.from(encodeFrame(frame)).toString('hex')).toBe(
      '01010101' +
        '04030201' +
        '08070605' +
        '0c0b0a09' +
        '100f0e0d' +
        '14131211' +
        '18171615' +
        '1a19' +
        '1c1b' +
        '02000000' +
        '00000000' +
        'aabb',
    )
  })

  it('of hidden states have exactly the size that the manifest says', () => {
    const { payload, mostFrameBytes } = wireRules(
      fakeManifest({ layers: 2, context: 100 }),
    )
    const frame = (change: Partial<Frame>): Frame => ({
      ...PLAIN,
      kind: 'hidden',
      dtype: 'float32',
      epoch: { term: 1, number: 1 },
      sequence: 1,
      rows: 2,
      payload: new Uint8Array(24),
      ...change,
    })
    const passes = (change: Partial<Frame>) =>
      decodeFrame(encodeFrame(frame(change)), payload) !== null
    expect(passes({})).toBe(true)
    expect(passes({ position: 98 })).toBe(true)
    for (const change of [
      { payload: new Uint8Array(23) },
      { payload: new Uint8Array(25) },
      { rows: 0, payload: new Uint8Array(0) },
      { rows: 257, payload: new Uint8Array(257 * 12) },
      { position: 99 },
      { tensor: 3 },
      { dtype: 'int32' },
      { dtype: null },
      { kind: 'passed' },
      { kind: 'ask', dtype: null, payload: new Uint8Array(5000) },
    ] satisfies Partial<Frame>[])
      expect(passes(change), JSON.stringify(change)).toBe(false)
    // A sequence that moves to another starter, with an attempt per row.
    expect(mostFrameBytes).toBe(HEADER_BYTES + 128 * (8 + 24) + 1024)
  })

  it('random and mutated ones are refused or sound: 100,000 of them', () => {
    const manifest = fakeManifest({ layers: 4, residual: true })
    const { payload, tensors } = wireRules(manifest)
    const random = randomFrom(4)
    const upTo = (n: number) => Math.floor(random() * n)
    const good: Frame = {
      ...PLAIN,
      kind: 'hidden',
      dtype: 'float32',
      epoch: { term: 1, number: 2 },
      sequence: 3,
      attempt: 1,
      rows: 2,
      payload: new Uint8Array(24),
    }
    const seed = encodeFrame(good)
    const text = new TextEncoder().encode('{"kind":"token","index":1,"id":3}')
    const json = encodeFrame({
      ...PLAIN,
      ...good,
      dtype: null,
      kind: 'answer',
      payload: text,
    })
    let accepted = 0
    for (let i = 0; i < 100_000; i++) {
      const from = [seed, json][i % 2] ?? seed
      const bytes =
        i % 3 === 0
          ? Uint8Array.from({ length: upTo(90) }, () => upTo(256))
          : from.slice()
      if (i % 3 === 1)
        for (let k = upTo(4); k >= 0; k--) bytes[upTo(bytes.length)] = upTo(256)
      const cut = i % 3 === 2 ? bytes.subarray(upTo(9), bytes.length - upTo(9)) : bytes
      const frame = decodeFrame(cut, payload)
      readAsk(cut.subarray(HEADER_BYTES), { context: 100, vocabulary: 97 })
      readAnswer(cut.subarray(HEADER_BYTES), 97)
      readFault(cut.subarray(HEADER_BYTES))
      if (!frame) continue
      accepted++
      expect(frame.payload.buffer).toBe(cut.buffer)
      if (frame.kind !== 'hidden') continue
      expect(tensors[frame.tensor]?.[1].dtype).toBe(frame.dtype)
      expect(frame.payload.byteLength).toBe(frame.rows * 12)
      expect(frame.position + frame.rows).toBeLessThanOrEqual(manifest.context)
    }
    expect(accepted).toBeGreaterThan(1000)
  })
})

describe('messages', () => {
  const bounds = { context: 10, vocabulary: 50 }
  const sampling = { temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1, seed: 1 }
  const ask = { question: 1, ids: [1, 2], answered: 1, maxTokens: 5, sampling }
  const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

  it('pass when they fit the model', () => {
    expect(readAsk(bytes(ask), bounds)).toEqual(ask)
    expect(readAnswer(bytes({ kind: 'token', index: 0, id: 49 }), 50)).not.toBeNull()
    expect(readFault(bytes({ code: 'broken' }))).toBe('broken')
  })

  it.each([
    { ...ask, ids: [] },
    { ...ask, ids: [50] },
    { ...ask, ids: [-1] },
    { ...ask, ids: [1.5] },
    { ...ask, ids: Array(11).fill(1) },
    { ...ask, answered: 2 },
    { ...ask, maxTokens: 0 },
    { ...ask, extra: 1 },
    { ...ask, sampling: { ...sampling, temperature: -1 } },
    { ...ask, sampling: { ...sampling, repetitionPenalty: 0 } },
    [],
    null,
  ])('refuses the question %j', (value) => {
    expect(readAsk(bytes(value), bounds)).toBeNull()
  })

  it('refuses answers that are too long or not text', () => {
    expect(readAnswer(bytes({ kind: 'failed', message: 'x'.repeat(301) }), 50)).toBeNull()
    expect(readAnswer(bytes({ kind: 'token', index: 0, id: 50 }), 50)).toBeNull()
    expect(readAnswer(Uint8Array.of(0x22, 0xff, 0x22), 50)).toBeNull()
  })
})
