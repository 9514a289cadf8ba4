import { expect, test, vi } from 'vitest'
import { every, pause } from './clock.ts'
import { identify } from './identity.ts'
import { TokenBucket } from './limits.ts'
import { Mesh, type MeshEvents } from './mesh.ts'
import { modelAddress, resolveModel } from './model-url.ts'
import { sentenceOf } from './preparer.ts'
import { relay } from './relay.ts'
import { explain } from './rendezvous.ts'
import { FakeInternet } from './testing/fake-network.ts'
import { memoryStore } from './testing/fake-room.ts'
import { seededBytes } from './testing/seeded.ts'
import { VirtualClock } from './testing/virtual-clock.ts'

test('a bucket lets a burst through, then so many a second', () => {
  let now = 0
  const bucket = new TokenBucket({ now: () => now, after: () => () => undefined }, 2, 1)
  expect([bucket.take(), bucket.take(), bucket.take()]).toEqual([true, true, false])
  now = 1000
  expect([bucket.take(), bucket.take()]).toEqual([true, false])
})

test('a repeated task can be ended from inside', async () => {
  const clock = new VirtualClock()
  let runs = 0
  const stop = every(clock, 10, () => {
    runs += 1
    if (runs === 3) stop()
  })
  await clock.advance(1000)
  expect(runs).toBe(3)
})

test('a pause ends early with its signal', async () => {
  const clock = new VirtualClock()
  const end = new AbortController()
  const over = pause(clock, 1e9, end.signal)
  end.abort()
  await over
  expect(clock.now()).toBe(0)
})

test('a device keeps its id over reloads, and later pages sort later', () => {
  const store = memoryStore()
  const first = identify(store, seededBytes(1), 1_700_000_000_000)
  const second = identify(store, seededBytes(2), 1_700_000_000_001)
  expect(second.device).toBe(first.device)
  expect(second.instance > first.instance).toBe(true)
  store.setItem('choir-device', 'rubbish')
  expect(identify(store, seededBytes(3), 1).device).toMatch(/^[\w-]{22}$/)
})

test('storage that is denied costs only the memory', () => {
  const denied = {
    getItem: () => {
      throw new Error('denied')
    },
    setItem: () => undefined,
  }
  expect(identify(denied, seededBytes(1), 1).device).toMatch(/^[\w-]{22}$/)
})

test('a model is a folder of this site or an https address', () => {
  const page = 'https://choir.test/app/'
  expect(modelAddress('./models/x', page)).toBe('/app/models/x/')
  expect(modelAddress('https://hub.test/x/?a#b', page)).toBe('https://hub.test/x/')
  expect(resolveModel('/app/models/x/', 'http://10.0.0.1:5173/app/')).toBe(
    'http://10.0.0.1:5173/app/models/x/',
  )
  for (const bad of [
    'http://hub.test/',
    'data:text/plain,x',
    '//u:p@hub.test/',
    'blob:x',
  ])
    expect(() => modelAddress(bad, page)).toThrow(/not allowed/)
})

test('errors for people keep their own sentence', () => {
  expect(sentenceOf(new Error('The disk is full.'), 'It failed')).toBe(
    'The disk is full.',
  )
  expect(sentenceOf(new Error('x is undefined'), 'It failed')).toBe(
    'It failed (x is undefined).',
  )
  expect(sentenceOf('odd', 'It failed')).toBe('It failed.')
})

test('what went wrong is told by what weighs most', () => {
  const why = (outcome: Parameters<typeof explain>[0], ...refused: string[]): string =>
    explain(outcome, new Set(refused))
  expect(why(new Map([['s', 'absent']]))).toMatch(/Nobody answers/)
  expect(why(new Map([['s', 'silent']]))).toMatch(/Nobody answers/)
  expect(why(new Map([['s', 'unsupported']]))).toMatch(/This browser cannot connect/)
  expect(
    why(
      new Map([
        ['s', 'blocked'],
        ['t', 'absent'],
      ]),
    ),
  ).toMatch(/keeps the phones apart/)
  expect(why(new Map([['s', 'unreachable']]))).toMatch(/server/)
  expect(why(new Map([['s', 'connected']]), 'unproven')).toMatch(
    /does not know this room/,
  )
  expect(why(new Map([['s', 'connected']]), 'version')).toMatch(/another version/)
})

test('a relay holds what is sent early, in order, and ends with its channel', async () => {
  const sent: number[] = []
  const channel = {
    readyState: 'connecting',
    binaryType: '',
    onopen: null as (() => void) | null,
    onmessage: null as ((event: { data: unknown }) => void) | null,
    onclose: null as (() => void) | null,
    send: (data: ArrayBuffer) => sent.push(new Uint8Array(data)[0]!),
    close: () => undefined,
  }
  const port = relay(channel as unknown as RTCDataChannel)
  const heard: unknown[] = []
  const arrived = new Promise<void>((resolve) => {
    port.onmessage = ({ data }) => {
      heard.push(data)
      resolve()
    }
  })
  port.postMessage(Uint8Array.of(1))
  port.postMessage(Uint8Array.of(2).buffer)
  channel.onmessage?.({ data: Uint8Array.of(9).buffer })
  await arrived
  expect(heard).toEqual([Uint8Array.of(9).buffer])
  channel.readyState = 'open'
  channel.onopen?.()
  port.postMessage(Uint8Array.of(3))
  await vi.waitFor(() => expect(sent).toEqual([1, 2, 3]))
  channel.onclose?.()
  port.close()
})

const QUIET: MeshEvents = {
  up: () => undefined,
  down: () => undefined,
  frames: () => undefined,
  spare: () => undefined,
  bulk: () => undefined,
  message: () => undefined,
  rank: () => undefined,
  refused: () => undefined,
  replaced: () => undefined,
  notice: () => undefined,
  objection: () => null,
  ownRank: () => null,
}

/** Two meshes over one wire; the device ids sort as given. */
function twoMeshes(clock: VirtualClock, down: (clean: boolean) => void) {
  const net = new FakeInternet(clock)
  const secret = seededBytes(9)(16)
  const make = (device: string, events: Partial<MeshEvents>) =>
    new Mesh(
      {
        secret,
        clock,
        random: seededBytes(device.charCodeAt(0)),
        self: { device: device.repeat(22), instance: `00loyw3v4-${'A'.repeat(11)}` },
      },
      { ...QUIET, ...events },
    )
  const a = make('A', { down: (_, clean) => down(clean) })
  const b = make('B', {})
  const join = () => {
    const [caller, answerer] = net.pair('a', 'b', 'pa', 'pb')
    a.add(caller)
    b.add(answerer)
    return [caller, answerer] as const
  }
  return { net, a, b, join }
}

test('three missed beats end a link; a sleep of our own does not', async () => {
  const clock = new VirtualClock()
  const downs: boolean[] = []
  const { net, a, join } = twoMeshes(clock, (clean) => downs.push(clean))
  const [caller, answerer] = join()
  await clock.advance(500)
  expect(a.linked.size).toBe(1)
  await clock.advance(10_000)
  await clock.sleep(30_000)
  await clock.advance(10_000)
  expect(downs).toEqual([])
  caller.muted = true
  answerer.muted = true
  await clock.advance(2500)
  expect(downs).toEqual([])
  await clock.advance(2000)
  expect(downs).toEqual([false])
  net.close()
})

test('of two wires to one page the lower end chooses, and both keep the same', async () => {
  const clock = new VirtualClock()
  const downs: boolean[] = []
  const { net, a, b, join } = twoMeshes(clock, (clean) => downs.push(clean))
  join()
  join()
  await clock.advance(1000)
  expect([a.linked.size, b.linked.size]).toEqual([1, 1])
  expect(net.wires.filter(({ closed }) => !closed)).toHaveLength(2)
  // Long after, a new wire of a page that still has its link is one too many.
  await clock.advance(5000)
  join()
  await clock.advance(1000)
  expect(net.wires.filter(({ closed }) => !closed)).toHaveLength(2)
  expect(downs).toEqual([])
  net.close()
})

test('closing twice is closing once', async () => {
  const clock = new VirtualClock()
  const { net, a, b, join } = twoMeshes(clock, () => undefined)
  const [caller] = join()
  await clock.advance(500)
  a.close()
  a.close()
  expect(caller.sent.filter((text) => text.includes('"bye"'))).toHaveLength(1)
  await clock.advance(100)
  expect(b.linked.size).toBe(0)
  net.close()
})

test('answers of two wires may overtake each other: both ends keep the same one', async () => {
  for (let seed = 0; seed < 64; seed += 1) {
    const clock = new VirtualClock()
    const downs: boolean[] = []
    const { net, a, b, join } = twoMeshes(clock, (clean) => downs.push(clean))
    const delays = seededBytes(seed)(5)
    for (let wire = 0; wire < 2; wire += 1) {
      const ends = join()
      ends.forEach((end, i) => (end.latency = delays[2 * wire + i]!))
      await clock.advance(delays[4]! % 40)
    }
    await clock.advance(3000)
    expect([a.linked.size, b.linked.size], `seed ${seed}`).toEqual([1, 1])
    const open = net.wires.filter((wire) => !wire.closed)
    expect(open, `seed ${seed}`).toHaveLength(2)
    expect(downs, `seed ${seed}`).toEqual([])
    net.close()
  }
})
