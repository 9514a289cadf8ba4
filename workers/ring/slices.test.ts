import { describe, expect, it } from 'vitest'
import { KEEP_ALIVE, MOST_SLICE_BYTES, Reassembler, slicesOf } from './slices.ts'
import { randomFrom } from './testing/fake-room.ts'

const random = randomFrom(8)
const upTo = (n: number) => Math.floor(random() * n)
const bytes = (length: number) => Uint8Array.from({ length }, () => upTo(256))
function shuffle<T>(items: T[]): T[] {
  return items
    .map((item) => ({ item, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item)
}

describe('slices', () => {
  it('make the same frame of any size, in order, none above 4.6 KB', () => {
    for (const length of [1, 40, 2344, 4592, 4593, 9184, 9185, 147_496]) {
      const frame = bytes(length)
      const port = new Reassembler(200_000)
      const parts = [...slicesOf(frame, 7)]
      for (const [i, part] of parts.entries()) {
        expect(part.byteLength).toBeLessThanOrEqual(MOST_SLICE_BYTES)
        expect(port.add(part)).toEqual(i === parts.length - 1 ? frame : null)
      }
      expect(port.held).toBe(0)
    }
  })

  it('a hidden state of one row travels in one message', () => {
    expect([...slicesOf(bytes(40 + 2304), 1)]).toHaveLength(1)
  })

  it('come in any order and more than once, of several frames at a time', () => {
    let delivered = 0
    for (let round = 0; round < 200; round++) {
      const frames = Array.from({ length: 8 }, () => bytes(1 + upTo(20_000)))
      const messages = frames.flatMap((frame, i) => [...slicesOf(frame, round * 8 + i)])
      const port = new Reassembler(20_000)
      const again = messages.filter(() => random() < 0.3)
      const got = shuffle([...messages, ...again]).flatMap(
        (message) => port.add(message) ?? [],
      )
      // Frames that were pushed out by the bound on memory may be missing; none is wrong.
      const numbers = got.map((f) =>
        frames.findIndex((frame) => Buffer.compare(frame, f) === 0),
      )
      expect(numbers).not.toContain(-1)
      expect(new Set(numbers).size).toBe(got.length)
      delivered += got.length
    }
    expect(delivered).toBeGreaterThan(400)
  })

  it('nothing is missing where little is on the way', () => {
    for (let round = 0; round < 100; round++) {
      const frames = [bytes(20_000), bytes(9000)]
      const messages = shuffle(frames.flatMap((frame, i) => [...slicesOf(frame, i)]))
      const port = new Reassembler(20_000)
      expect(messages.flatMap((message) => port.add(message) ?? [])).toHaveLength(2)
    }
  })

  it('a keep-alive is nothing', () => {
    expect(KEEP_ALIVE.byteLength).toBe(1)
    expect(new Reassembler(100).add(KEEP_ALIVE)).toBeNull()
  })

  it('hold no more than twice the largest frame, whatever comes', () => {
    const port = new Reassembler(30_000)
    let delivered = 0
    for (let i = 0; i < 100_000; i++) {
      const message = new Uint8Array(i % 2 ? MOST_SLICE_BYTES : upTo(60))
      if (message.length > 8) {
        const view = new DataView(message.buffer)
        view.setUint32(0, (i >> 5) + upTo(20), true)
        view.setUint16(4, upTo(3), true)
        view.setUint16(6, i % 3 ? 2 + upTo(2) : upTo(65_536), true)
      }
      const frame = port.add(message)
      if (frame) {
        delivered++
        expect(frame.byteLength).toBeLessThanOrEqual(30_000)
      }
      expect(port.held).toBeLessThanOrEqual(60_000)
    }
    expect(delivered).toBeGreaterThan(10)
  })

  it('a frame above the limit is refused at its first slice', () => {
    const port = new Reassembler(10_000)
    for (const part of slicesOf(bytes(20_000), 1)) {
      expect(port.add(part)).toBeNull()
      expect(port.held).toBe(0)
    }
    const [first, second, third] = [...slicesOf(bytes(10_001), 2)]
    for (const part of [first, second, third]) expect(part && port.add(part)).toBeNull()
  })
})
