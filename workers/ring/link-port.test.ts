import { describe, expect, it } from 'vitest'
import { BULK_LANE, channelWire, LinkPort, portWire, type Wire } from './link-port.ts'
import { Links } from './links.ts'
import { Reassembler } from './slices.ts'
import { FakeClock } from './testing/fake-room.ts'
import { FakeWire } from './testing/fake-wire.ts'

function port(wire: Wire) {
  const frames: Uint8Array[] = []
  let downs = 0
  const made = new LinkPort(wire, {
    mostFrameBytes: 1e6,
    now: () => 0,
    onFrame: (frame) => frames.push(frame),
    onDown: () => downs++,
  })
  return { port: made, frames, downs: () => downs }
}

const filled = (length: number, value: number) => new Uint8Array(length).fill(value)

describe('a link port', () => {
  it('waits until the wire is open, and while it is full', () => {
    const wire = new FakeWire()
    wire.room = 0
    const { port: made } = port(wire)
    made.send(filled(10_000, 1), 1)
    expect(wire.sent).toHaveLength(0)
    wire.room = 2
    wire.onReady()
    expect(wire.sent).toHaveLength(2)
    wire.room = 5
    wire.onReady()
    expect(wire.sent).toHaveLength(3)
  })

  it('lets a small frame pass a big one of another sequence, none of its own', () => {
    const wire = new FakeWire()
    wire.room = 1
    const { port: made } = port(wire)
    made.send(filled(40_000, 1), 1)
    made.send(filled(50, 2), 1)
    made.send(filled(50, 3), 2)
    wire.room = Infinity
    wire.onReady()
    const reader = new Reassembler(1e6)
    const order = wire.sent
      .flatMap((message) => reader.add(message) ?? [])
      .map((f) => f[0])
    expect(order).toEqual([3, 1, 2])
    // Behind one slice of the big one at most.
    expect(wire.sent.findIndex((message) => message[8] === 3)).toBeLessThanOrEqual(2)
  })

  it('lets what can wait go only where nothing else does', () => {
    const wire = new FakeWire()
    const { port: made } = port(wire)
    wire.room = 0
    made.send(filled(20_000, 1), BULK_LANE)
    made.send(filled(20_000, 2), 1)
    wire.room = 3
    wire.onReady()
    made.send(filled(50, 3), 2)
    wire.quiet = false
    wire.room = Infinity
    wire.onReady()
    const values = () => wire.sent.map((message) => message[8])
    expect(values()).toEqual([2, 2, 2, 2, 3, 2])
    wire.quiet = true
    wire.onReady()
    expect(values().slice(6)).toEqual([1, 1, 1, 1, 1])
  })

  it('goes down once, by a wire that closes or throws', () => {
    for (const end of ['closes', 'throws'] as const) {
      const wire = new FakeWire()
      const { port: made, downs } = port(wire)
      if (end === 'closes') wire.onClosed()
      wire.throwing = true
      made.send(filled(10, 1), 1)
      made.send(filled(10, 1), 1)
      expect(downs()).toBe(1)
      expect(made.send(filled(10, 1), 1)).toBe(false)
    }
  })

  it('gives up a link that takes nothing', () => {
    const wire = new FakeWire()
    wire.room = 0
    const { port: made, downs } = port(wire)
    let frames = 0
    while (made.send(filled(1e6, 1), frames % 3)) frames++
    expect(frames).toBe(67)
    expect(downs()).toBe(1)
    expect(wire.closed).toBe(true)
  })

  it('carries frames over a message port', async () => {
    const { port1, port2 } = new MessageChannel()
    const a = port(portWire(port1))
    const got = new Promise<Uint8Array>((resolve) => {
      new LinkPort(portWire(port2), {
        mostFrameBytes: 1e6,
        now: () => 0,
        onFrame: resolve,
        onDown: () => undefined,
      })
    })
    a.port.send(filled(20_000, 5), 1)
    expect(await got).toEqual(filled(20_000, 5))
    a.port.close()
    port2.close()
  })

  it('keeps a data channel below its high-water mark', () => {
    const sent: number[] = []
    const channel = {
      binaryType: 'blob',
      readyState: 'connecting',
      bufferedAmount: 0,
      bufferedAmountLowThreshold: 0,
      onopen: () => undefined,
      onbufferedamountlow: () => undefined,
      onclose: () => undefined,
      onmessage: undefined as unknown as (event: { data: unknown }) => void,
      send(message: Uint8Array) {
        sent.push(message.byteLength)
        channel.bufferedAmount += message.byteLength
      },
      close: () => undefined,
    }
    const wire = channelWire(channel as unknown as RTCDataChannel)
    const { port: made, frames } = port(wire)
    made.send(filled(512_000, 1), 1)
    made.send(filled(3_000_000, 1), 1)
    expect(sent).toHaveLength(0)
    channel.readyState = 'open'
    channel.onopen()
    expect(channel.binaryType).toBe('arraybuffer')
    // A whole chunk of a prompt: the worker computes the next one before it hears of room.
    expect(channel.bufferedAmount).toBeGreaterThan(512_000)
    expect(channel.bufferedAmount).toBeLessThan(1_100_000)
    const before = sent.length
    channel.bufferedAmount = 0
    channel.onbufferedamountlow()
    expect(sent.length).toBeGreaterThan(before)
    channel.onmessage({ data: 'text' })
    channel.onmessage({ data: Uint8Array.of(1, 0, 0, 0, 0, 0, 1, 0, 42).buffer })
    expect(frames).toEqual([Uint8Array.of(42)])
  })
})

describe('links', () => {
  it('keep an idle radio awake only while a sequence runs', () => {
    const clock = new FakeClock()
    const links = new Links(clock)
    const wire = new FakeWire()
    links.connect('b', wire)
    clock.move(5000)
    expect(wire.sent).toHaveLength(0)
    links.keepAwake(new Set(['b']))
    clock.move(5000)
    expect(wire.sent.length).toBeGreaterThan(90)
    expect(wire.sent.length).toBeLessThanOrEqual(100)
    expect(wire.sent.every(({ byteLength }) => byteLength === 1)).toBe(true)
    expect(clock.waiting).toBe(0)
  })

  it('take the place of one another, and tell once', () => {
    const links = new Links(new FakeClock())
    const told: string[] = []
    links.listen(
      {
        onFrame: (device, frame) => told.push(`frame ${device} ${frame.byteLength}`),
        onUp: (device) => told.push(`up ${device}`),
        onDown: (device) => told.push(`down ${device}`),
      },
      1000,
    )
    const [first, second] = [new FakeWire(), new FakeWire()]
    links.connect('b', first)
    links.connect('b', second)
    expect(first.closed).toBe(true)
    first.onClosed()
    second.onMessage(Uint8Array.of(1, 0, 0, 0, 0, 0, 1, 0, 42))
    second.onClosed()
    links.disconnect('b')
    expect(told).toEqual(['up b', 'up b', 'frame b 1', 'down b'])
    expect(links.send('b', filled(10, 1), 1)).toBe(false)
  })

  it('a spare way waits for its link, whichever comes first', () => {
    const clock = new FakeClock()
    const links = new Links(clock)
    const [link, next] = [new FakeWire(), new FakeWire()]
    const [spare, nextSpare, last] = [new FakeWire(), new FakeWire(), new FakeWire()]
    links.connectSpare('b', spare)
    links.connect('b', link)
    // That of the link that comes is here before the link is.
    links.connectSpare('b', nextSpare)
    links.connect('b', next)
    expect([spare.closed, nextSpare.closed]).toEqual([true, false])
    links.keepAwake(new Set(['b']))
    clock.move(10)
    expect([next.sent.length, nextSpare.sent.length]).toEqual([0, 1])
    links.disconnect('b')
    expect(nextSpare.closed).toBe(true)
    links.connectSpare('b', last)
    links.close()
    expect(last.closed).toBe(true)
  })
})
