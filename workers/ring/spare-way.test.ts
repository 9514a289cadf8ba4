import { describe, expect, it } from 'vitest'
import { LinkPort, type Wire } from './link-port.ts'
import { FakeWire } from './testing/fake-wire.ts'

function ways(): [FakeWire, FakeWire] {
  const [near, far] = [new FakeWire(), new FakeWire()]
  near.other = far
  far.other = near
  return [near, far]
}

/** Two devices with both ways between them. */
function pair() {
  let time = 0
  const frames: number[] = []
  const other: number[] = []
  const [main, mainFar] = ways()
  const [spare, spareFar] = ways()
  const port = (wire: Wire, into: number[]) =>
    new LinkPort(wire, {
      mostFrameBytes: 1e6,
      now: () => time,
      onFrame: (frame) => into.push(frame[0] ?? -1),
      onDown: () => undefined,
    })
  const [near, far] = [port(main, other), port(mainFar, frames)]
  near.addSpare(spare)
  far.addSpare(spareFar)
  const sign = () => {
    time += 10
    near.keepAlive(10)
  }
  const misses = () => {
    spare.lost = true
    sign()
    spare.lost = false
    for (let i = 0; i < 10; i++) sign()
  }
  return {
    ...{ near, far, main, mainFar, spare, spareFar, frames, other, sign, misses },
    wait: (ms: number) => (time += ms),
  }
}

const filled = (length: number, value: number) => new Uint8Array(length).fill(value)

describe('the spare way', () => {
  it('carries the signs of life, and no copies while all of them arrive', () => {
    const { near, main, spare, spareFar, frames, sign } = pair()
    for (let i = 0; i < 20; i++) sign()
    near.send(filled(50, 1), 1)
    expect(main.sent).toHaveLength(1)
    expect(spare.sent).toHaveLength(20)
    // The other end answers a few.
    expect(spareFar.sent).toHaveLength(2)
    expect(frames).toEqual([1])
  })

  it('brings a frame whose packet is lost, once, when signs were missed', () => {
    const { near, main, mainFar, frames, misses } = pair()
    near.send(filled(50, 1), 1)
    misses()
    main.lost = true
    near.send(filled(50, 2), 1)
    near.send(filled(50, 3), 1)
    expect(frames).toEqual([1, 2, 3])
    // They are sent again.
    main.sent.slice(1).forEach((message) => mainFar.onMessage(message))
    main.lost = false
    near.send(filled(50, 4), 1)
    expect(frames).toEqual([1, 2, 3, 4])
  })

  it('overtakes no frame that is still missing', () => {
    const { near, main, mainFar, spare, frames, misses } = pair()
    near.send(filled(50, 1), 1)
    misses()
    main.lost = spare.lost = true
    near.send(filled(50, 2), 1)
    spare.lost = false
    near.send(filled(50, 3), 1)
    expect(frames).toEqual([1])
    main.sent.slice(1).forEach((message) => mainFar.onMessage(message))
    expect(frames).toEqual([1, 2, 3])
  })

  it('carries no copies of frames that are long or wait behind others', () => {
    const { near, main, spare, misses } = pair()
    near.send(filled(50, 1), 1)
    misses()
    const before = spare.sent.length
    near.send(filled(10_000, 2), 1)
    main.room = 0
    near.send(filled(50, 3), 1)
    near.send(filled(50, 4), 2)
    main.room = Infinity
    main.onReady()
    expect(spare.sent).toHaveLength(before)
  })

  it('is quiet again some time after the last missed sign', () => {
    const { near, spare, misses, wait, sign } = pair()
    misses()
    wait(60_000)
    for (let i = 0; i < 10; i++) sign()
    const before = spare.sent.length
    near.send(filled(50, 1), 1)
    expect(spare.sent).toHaveLength(before)
  })

  it('both ends learn of losses, in whichever direction they are', () => {
    const { far, spare, spareFar, sign } = pair()
    spareFar.lost = true
    for (let i = 0; i < 8; i++) sign()
    spareFar.lost = false
    for (let i = 0; i < 8; i++) sign()
    const before = spareFar.sent.length
    far.send(filled(50, 1), 1)
    expect(spareFar.sent).toHaveLength(before)
    // The next sign tells it.
    sign()
    far.send(filled(50, 2), 1)
    expect(spareFar.sent.length).toBeGreaterThan(before)
    expect(spare.closed).toBe(false)
  })

  it('is not needed: signs go the other way where it is shut', () => {
    const { near, main, spare, sign } = pair()
    spare.room = 0
    sign()
    expect(main.sent).toHaveLength(1)
    near.close()
    expect(spare.closed).toBe(true)
  })
})
