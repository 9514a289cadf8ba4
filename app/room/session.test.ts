import { setMaxListeners } from 'node:events'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { NetworkError, type Network } from './link.ts'
import { MAX_MALFORMED } from './mesh.ts'
import { PROTOCOL_VERSION } from './protocol.ts'
import { createRoom } from './rooms.ts'
import type { Session } from './session.ts'
import { slotIds, parseLink, SLOTS } from './secret.ts'
import { FakeRoom, memoryStore } from './testing/fake-room.ts'
import { LAYER_BYTES } from './testing/fake-workers.ts'

// Sixteen calls at a time listen to one signal; that is no leak.
setMaxListeners(64)

let room: FakeRoom
beforeEach(() => {
  room = new FakeRoom()
})
afterEach(() => room.net.close())

const noWebRtc: Network = {
  listen: () => Promise.reject(new NetworkError('unsupported')),
}

const spans = (session: Session): unknown[] =>
  session.view.devices.map(({ span }) => span && [span.from, span.to])
const roles = (session: Session): boolean[] =>
  session.view.devices.map(({ coordinator }) => coordinator)

describe('alone', () => {
  test('a room of one is ready without a server and answers', async () => {
    room.net.up = false
    const phone = room.phone()
    const session = room.open(phone)
    expect(session.view.status.kind).toBe('connecting')
    await room.ready(session)
    expect(spans(session)).toEqual([[0, 8]])
    session.ask('hello')
    await room.clock.until('answered', () => session.view.messages[1]?.state === 'done')
    expect(session.view.messages[1]?.text).toBe('w100 w101 w102 .')
    expect(session.view.messages[1]?.stats).toMatchObject({
      newTokens: 3,
      laps: 2,
      firstTokenMs: 20,
    })
    expect(session.view.notice).toMatch(/cannot join at the moment/)
  })

  test('a server that comes later lets others join', async () => {
    room.net.up = false
    const first = room.open(room.phone())
    await room.ready(first)
    room.net.up = true
    await room.clock.advance(3000)
    expect(first.view.notice).toBeNull()
    const phone = room.phone()
    const second = await room.join(phone, first.view.link)
    await room.ready(first, second)
    // Eight layers of 2 ms, embedding and head.
    await room.clock.until('told its stage', () => phone.stage.stepTimes !== null)
    expect(phone.stage.stepTimes).toMatchObject({ workMs: 8 * 2 + 1 })
  })

  test('a browser without WebRTC answers alone and says that nobody can join', async () => {
    const session = room.open(room.phone({ network: noWebRtc }))
    await room.ready(session)
    expect(session.view.notice).toMatch(/cannot connect phones, so nobody can join/)
    const joining = room.join(room.phone({ network: noWebRtc }), session.view.link)
    await expect(joining).rejects.toThrow(/This browser cannot connect to other phones/)
  })

  test('a model address that is not allowed opens no room', () => {
    for (const model of [
      'http://elsewhere.test/m/',
      'javascript:alert(1)',
      'https://a:b@c/',
    ])
      expect(() => room.open(room.phone({ model }))).toThrow(/not allowed/)
  })

  test('too little memory says how much is missing', async () => {
    const session = room.open(room.phone({ memoryBudget: 3 * LAYER_BYTES }))
    await room.clock.until('short', () => session.view.status.kind === 'short')
    const helper = await room.join(room.phone(), session.view.link)
    await room.ready(session, helper)
  })
})

describe('together', () => {
  test('three devices share the layers; the first coordinates', async () => {
    const first = room.open(room.phone())
    const second = await room.join(room.phone(), first.view.link)
    const third = await room.join(room.phone(), first.view.link)
    await room.ready(first, second, third)
    await room.clock.until('three spans', () =>
      spans(first).every((span) => span !== null),
    )
    await room.ready(first, second, third)
    for (const session of [first, second, third]) {
      const covered = session.view.devices.flatMap(({ span }) => (span ? [span] : []))
      expect(covered.reduce((sum, { from, to }) => sum + to - from, 0)).toBe(8)
      expect(roles(session)).toEqual([true, false, false])
      expect(session.view.devices.map(({ name }) => name)).toEqual([
        'Phone 1',
        'Phone 2',
        'Phone 3',
      ])
      expect(session.view.code).toBe(first.view.code)
    }
  })

  test('frames channels are handed over once each link is proven, on both ends', async () => {
    const phones = [room.phone(), room.phone()]
    const first = room.open(phones[0]!)
    const second = await room.join(phones[1]!, first.view.link)
    await room.ready(first, second)
    expect([...phones[0]!.stage.connected.keys()]).toEqual([
      phones[1]!.options.identity.device,
    ])
    expect([...phones[1]!.stage.connected.keys()]).toEqual([
      phones[0]!.options.identity.device,
    ])
  })

  test('who leaves is dealt out at once; the next one coordinates with a later term', async () => {
    const first = room.open(room.phone())
    const second = await room.join(room.phone(), first.view.link)
    const third = await room.join(room.phone(), first.view.link)
    await room.ready(first, second, third)
    const before = second.view.epoch
    const left = first.leave()
    await room.clock.advance(300)
    await left
    expect(first.view.status).toEqual({ kind: 'closed', message: 'You left the room.' })
    await room.ready(second, third)
    expect(roles(second)).toEqual([true, false])
    expect(second.view.epoch!.term).toBeGreaterThan(before!.term)
    const fourth = await room.join(room.phone(), second.view.link)
    await room.ready(second, third, fourth)
  })

  test('who vanishes is noticed after three beats, and its peer id blocks nobody', async () => {
    const phones = [room.phone(), room.phone()]
    const first = room.open(phones[0]!)
    const second = await room.join(phones[1]!, first.view.link)
    await room.ready(first, second)
    room.net.vanish(phones[0]!.host)
    await room.clock.until('noticed', () => second.view.devices.length === 1, 4500)
    await room.ready(second)
    const third = await room.join(room.phone(), second.view.link)
    await room.ready(second, third)
  })

  test('a page that is put aside says so', async () => {
    const phones = [room.phone(), room.phone()]
    const first = room.open(phones[0]!)
    const second = await room.join(phones[1]!, first.view.link)
    await room.ready(first, second)
    phones[1]!.page.hide()
    await room.clock.advance(100)
    expect(second.view.status.kind).toBe('closed')
    expect(first.view.devices).toHaveLength(1)
  })

  test('a reload keeps the device and gets a new join number', async () => {
    const first = room.open(room.phone())
    const store = memoryStore()
    const phone = room.phone({}, store)
    const second = await room.join(phone, first.view.link)
    await room.ready(first, second)
    const id = first.view.devices[1]!.id
    room.net.vanish(phone.host)
    const again = await room.join(room.phone({}, store), first.view.link)
    await room.ready(first, again)
    expect(first.view.devices[1]!.id).toBe(id)
  })

  test('the same device in two tabs: the later one stays', async () => {
    const first = room.open(room.phone())
    const store = memoryStore()
    const second = await room.join(room.phone({}, store), first.view.link)
    await room.ready(first, second)
    const third = await room.join(room.phone({}, store), first.view.link)
    await room.ready(first, third)
    expect(second.view.status).toMatchObject({ kind: 'closed' })
    expect(second.view.status).toHaveProperty(
      'message',
      expect.stringMatching(/another tab/),
    )
    await room.clock.advance(60_000)
    expect(first.view.devices).toHaveLength(2)
    expect(third.view.status.kind).toBe('ready')
  })

  test('two devices that open the same room at once end up in one', async () => {
    const a = room.phone()
    const secret = new Uint8Array(16)
    const first = createRoom(a.options, secret)
    const second = createRoom(room.phone().options, secret)
    await room.ready(first, second)
    expect(roles(first).filter(Boolean)).toHaveLength(1)
    expect(roles(second)).toEqual(roles(first))
  })

  test('both ends calling at once keep one link', async () => {
    const first = room.open(room.phone())
    const second = await room.join(room.phone(), first.view.link)
    await room.ready(first, second)
    const { isCut } = room.net
    room.net.isCut = () => true
    for (const wire of room.net.wires) wire.muted = true
    await room.clock.until('apart', () => first.view.devices.length === 1)
    room.net.isCut = isCut
    await room.ready(first, second)
    await room.clock.advance(5000)
    const open = room.net.wires.filter((wire) => !wire.closed && !wire.muted)
    expect(open).toHaveLength(2)
  })

  test('an empty slot, a full room and a missing server are told apart', async () => {
    const link = room.open(room.phone()).view.link
    await room.clock.advance(100)
    const nobody = 'https://choir.test/app/#room=AAAAAAAAAAAAAAAAAAAAAA'
    await expect(room.join(room.phone(), nobody)).rejects.toThrow(/Nobody answers/)
    await expect(room.join(room.phone(), `${link}x`)).rejects.toThrow(/no link to a room/)
    room.net.isCut = () => true
    await expect(room.join(room.phone(), link)).rejects.toThrow(/Wi-Fi keeps the phones/)
    room.net.isCut = () => false
    room.net.up = false
    await expect(room.join(room.phone(), link)).rejects.toThrow(
      /server .* cannot be reached/,
    )
  })

  test('a room holds 16 devices and says so to the next', async () => {
    const first = room.open(room.phone())
    for (let i = 1; i < SLOTS; i += 1) await room.join(room.phone(), first.view.link)
    expect(first.view.devices).toHaveLength(SLOTS)
    await expect(room.join(room.phone(), first.view.link)).rejects.toThrow(/room is full/)
    await room.clock.advance(20_000)
    expect(first.view.devices).toHaveLength(SLOTS)
    expect(first.view.status.kind).toBe('ready')
  })

  test('peer ids of vanished devices do not keep others out', async () => {
    const first = room.open(room.phone())
    await room.clock.advance(100)
    for (const slot of slotIds(parseLink(first.view.link)!)) {
      if (room.net.hostOf(slot) === undefined) room.net.holdZombie(slot)
    }
    const second = await room.join(room.phone(), first.view.link)
    await room.ready(first, second)
  })
})

describe('hostile', () => {
  test('without the secret there is no roster and no frames channel', async () => {
    const first = room.phone()
    const session = room.open(first)
    await room.ready(session)
    const [peer] = slotIds(parseLink(session.view.link)!)
    const heard: unknown[] = []
    const network = room.net.network('stranger')
    const events = {
      wire: () => undefined,
      lost: () => undefined,
      online: () => undefined,
    }
    const { signal } = new AbortController()
    const listening = network.listen('stranger', events, signal)
    await room.clock.advance(10)
    const calling = (await listening).connect(peer!, signal)
    await room.clock.advance(10)
    const wire = await calling
    let closed = false
    wire.start({
      message: (data) => heard.push(JSON.parse(String(data))),
      closed: () => (closed = true),
    })
    wire.send(
      JSON.stringify({
        type: 'hello',
        version: PROTOCOL_VERSION,
        device: 'A'.repeat(22),
        instance: `00000000a-${'A'.repeat(11)}`,
        nonce: 'A'.repeat(22),
      }),
    )
    wire.send(JSON.stringify({ type: 'proof', mac: 'A'.repeat(43), linked: false }))
    await room.clock.advance(1000)
    expect(closed).toBe(true)
    expect(heard.map((message) => (message as { type: string }).type)).toEqual([
      'hello',
      'proof',
      'bye',
    ])
    expect(first.stage.connected.size).toBe(0)
    expect(session.view.devices).toHaveLength(1)
  })

  test('a caller that says nothing is hung up on', async () => {
    const session = room.open(room.phone())
    await room.ready(session)
    const [peer] = slotIds(parseLink(session.view.link)!)
    const { signal } = new AbortController()
    const network = room.net.network('stranger')
    const events = {
      wire: () => undefined,
      lost: () => undefined,
      online: () => undefined,
    }
    const listening = network.listen('stranger', events, signal)
    await room.clock.advance(10)
    const calling = (await listening).connect(peer!, signal)
    await room.clock.advance(10)
    let closed = false
    const wire = await calling
    wire.start({ message: () => undefined, closed: () => (closed = true) })
    await room.clock.advance(9000)
    expect(closed).toBe(false)
    await room.clock.advance(2000)
    expect(closed).toBe(true)
  })

  test('a flood of bad messages ends the link with a notice and leaves the room whole', async () => {
    const first = room.open(room.phone())
    const second = await room.join(room.phone(), first.view.link)
    const bad = await room.join(room.phone(), first.view.link)
    await room.ready(first, second, bad)
    const wire = room.net.wires.find(
      ({ from, to, closed }) => from === 'host3' && to === 'host1' && !closed,
    )
    for (let i = 0; i < MAX_MALFORMED; i += 1) wire!.send('{"type":"state"}')
    await room.clock.advance(50)
    expect(first.view.notice).toMatch(/too many bad messages/)
    expect(first.view.devices.length).toBeLessThan(3)
    await room.clock.advance(30_000)
    expect(second.view.status.kind).toBe('ready')
  })
})
