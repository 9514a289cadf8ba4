import { setMaxListeners } from 'node:events'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { pause } from './clock.ts'
import type { Deal } from './deal.ts'
import { DealDesk } from './deal-desk.ts'
import type { Health } from './health.ts'
import type { Session } from './session.ts'
import { FakeRoom } from './testing/fake-room.ts'
import { dealLayers } from './testing/plain-deal.ts'

// Sixteen calls at a time listen to one signal; that is no leak.
setMaxListeners(64)

let room: FakeRoom
beforeEach(() => {
  room = new FakeRoom()
})
afterEach(() => room.net.close())

const spans = (session: Session): unknown[] =>
  session.view.devices.map(({ span }) => span && [span.from, span.to])

test('a deal that takes a while is taken up as soon as it is known', async () => {
  const desk = new DealDesk(
    async (...question) => {
      await pause(room.clock, 300, new AbortController().signal)
      const dealt = dealLayers(...question)
      if (dealt.kind === 'thinking') throw new Error('It should know.')
      return dealt
    },
    () => ({ kind: 'short', missingBytes: 1 }),
    room.clock,
  )
  const session = room.open(room.phone({ deal: desk.deal }))
  const second = await room.join(room.phone({ deal: desk.deal }), session.view.link)
  await room.ready(session, second)
  await room.clock.until('both', () => !spans(session).includes(null))
  expect(spans(session)).toHaveLength(2)
})

describe('a plan that is prepared', () => {
  const joined = async () => {
    const phones = [room.phone(), room.phone(), room.phone()] as const
    const [first, second, third] = phones
    const session = room.open(first)
    await room.join(second, session.view.link)
    const dealt = () => !spans(session).includes(null)
    await room.clock.until('both', () => dealt() && spans(session).length === 2)
    const epoch = session.view.epoch
    let ready: () => void = () => undefined
    second.stage.copying = new Promise((resolve) => (ready = resolve))
    const last = await room.join(third, session.view.link)
    await room.clock.until(
      'loaded',
      () => second.stage.prepared.at(-1)?.stages.length === 3,
    )
    await room.clock.advance(5000)
    expect(session.view.epoch).toEqual(epoch)
    return { second, session, last, ready }
  }

  test('is active once the caches of what runs have come ahead', async () => {
    const { session, ready } = await joined()
    ready()
    await room.clock.until('all three', () => !spans(session).includes(null))
    expect(spans(session)).toHaveLength(3)
  })

  test('is not waited for where another one is wanted', async () => {
    const { second, last } = await joined()
    const { prepared } = second.stage
    void last.leave()
    await room.clock.until('another', () => prepared.at(-1)?.stages.length === 2)
  })
})

describe('overlap layers', () => {
  /** Each of two phones holds the other's layer at their border. */
  const deal: Deal = (...asked) => {
    const dealt = dealLayers(...asked)
    const [, , now] = asked
    if (dealt.kind !== 'plan' || now?.length !== 2) return dealt
    const border = now[1]?.from ?? 0
    return { ...dealt, holds: [[border], [border - 1]] }
  }
  const shard = (layer: number) => (layer + 1).toString(16).padStart(64, '0')

  test('are fetched and held once the room is quiet, and let go in the background', async () => {
    let tell: (health: Health) => void = () => undefined
    const health = (listener: typeof tell) => {
      tell = listener
      return () => undefined
    }
    const phones = [room.phone({ deal }), room.phone({ deal, health })]
    const first = room.open(phones[0]!)
    const second = await room.join(phones[1]!, first.view.link)
    await room.ready(first, second)
    expect(phones.map(({ stage }) => stage.held)).toEqual([null, null])
    await room.clock.until('held', () => phones.every(({ stage }) => stage.held !== null))
    const { devices } = first.view
    const border = Math.max(...devices.map(({ span }) => span?.from ?? 0))
    for (const [i, { stage, shards }] of phones.entries()) {
      const layer = devices[i]?.starter ? border : border - 1
      expect(stage.held).toEqual([layer])
      expect(shards.fetched.at(-1)).toEqual([shard(layer)])
    }
    // Under the plan that serves: nothing was prepared for it.
    const prepared = phones.map(({ stage }) => stage.prepared.length)
    tell({ visible: false, battery: null })
    await room.clock.until('let go', () => phones[1]!.stage.held?.length === 0)
    tell({ visible: true, battery: null })
    await room.clock.until('held again', () => phones[1]!.stage.held?.length === 1)
    expect(phones.map(({ stage }) => stage.prepared.length)).toEqual(prepared)
  })

  test('are not fetched while an answer runs, but afterwards', async () => {
    const phones = [room.phone({ deal }), room.phone({ deal })]
    const first = room.open(phones[0]!)
    const second = await room.join(phones[1]!, first.view.link)
    await room.ready(first, second)
    const { shards, stage } = phones[0]!
    const fetch = shards.fetch.bind(shards)
    let stop: ((error: Error) => void) | null = null
    shards.fetch = (...asked) =>
      asked[0].id.startsWith('overlap')
        ? new Promise((_, reject) => (stop = reject))
        : fetch(...asked)
    shards.cancel = () => stop?.(new Error('stopped'))
    await room.clock.until('fetching', () => stop !== null)
    shards.fetch = (...asked) => {
      expect(first.view.messages.at(-1)?.state).not.toBe('streaming')
      return fetch(...asked)
    }
    first.ask('hello')
    await room.clock.until('answered', () => first.view.messages.at(-1)?.state === 'done')
    await room.clock.until('held', () => stage.held?.length === 1)
  })

  test('give way to a plan that comes while they are fetched', async () => {
    const phones = [room.phone({ deal }), room.phone({ deal })]
    const first = room.open(phones[0]!)
    const second = await room.join(phones[1]!, first.view.link)
    await room.ready(first, second)
    const { shards, stage } = phones[0]!
    const asked: string[] = []
    shards.fetch = ({ id }) => {
      asked.push(id)
      return new Promise(() => undefined)
    }
    await room.clock.until('fetching', () => asked.length > 0)
    shards.fetch = () => Promise.resolve({ fetchedBytes: 0 })
    void second.leave()
    await room.clock.until('alone', () => first.view.devices.length === 1)
    await room.ready(first)
    expect(shards.cancelled).toContain(asked[0])
    expect(stage.held).toBeNull()
  })
})

describe('answers', () => {
  test('a question asked too early waits and is sent when the room is ready', async () => {
    const phone = room.phone()
    const session = room.open(phone)
    session.ask('early')
    await room.clock.advance(1)
    expect(session.view.messages.map(({ state }) => state)).toEqual(['done', 'waiting'])
    await room.clock.until('answered', () => session.view.messages[1]?.state === 'done')
    expect(phone.stage.asks).toHaveLength(1)
  })

  test('one conversation keeps one sequence, and clear begins another', async () => {
    const phone = room.phone()
    const session = room.open(phone)
    await room.ready(session)
    for (const [i, text] of ['one', 'two'].entries()) {
      session.ask(text)
      await room.clock.until(
        text,
        () => session.view.messages[2 * i + 1]?.state === 'done',
      )
    }
    session.clear()
    session.ask('three')
    await room.clock.until('three', () => session.view.messages[1]?.state === 'done')
    const [one, two, three] = phone.stage.asks.map(({ sequence }) => sequence)
    expect(one).toBe(65_537)
    expect(two).toBe(one)
    expect(three).toBe(65_538)
    expect(phone.stage.forgotten).toEqual([one])
    expect(phone.text.encoded[1]?.map(({ role }) => role)).toEqual([
      'user',
      'assistant',
      'user',
    ])
  })

  test('several devices ask at once, each with sequences of its own', async () => {
    const phones = [room.phone(), room.phone()]
    const first = room.open(phones[0]!)
    const second = await room.join(phones[1]!, first.view.link)
    await room.ready(first, second)
    first.ask('a')
    second.ask('b')
    await room.clock.until('both answered', () =>
      [first, second].every(({ view }) => view.messages[1]?.state === 'done'),
    )
    expect(phones[0]!.stage.asks[0]!.sequence).not.toBe(
      phones[1]!.stage.asks[0]!.sequence,
    )
  })

  test('stop keeps what came, and the next question goes on', async () => {
    const phone = room.phone()
    phone.stage.reply = 1000
    const session = room.open(phone)
    await room.ready(session)
    session.ask('long')
    await room.clock.until('some text', () => session.view.messages[1]!.text !== '')
    session.stop()
    await room.clock.advance(100)
    expect(session.view.messages[1]).toMatchObject({ state: 'stopped' })
    expect(session.view.messages[1]!.text).toContain('w100')
  })

  test('a stage that fails leaves the question and says why', async () => {
    const phone = room.phone()
    phone.stage.ask = (ask, onEvent) => {
      onEvent({ kind: 'failed', sequence: ask.sequence, message: 'The model broke.' })
      return Promise.resolve()
    }
    const session = room.open(phone)
    await room.ready(session)
    session.ask('why')
    await room.clock.advance(100)
    expect(session.view.messages).toMatchObject([
      { role: 'user', text: 'why' },
      { role: 'assistant', state: 'failed', error: 'The model broke.' },
    ])
  })

  test('a newcomer takes layers while an answer runs', async () => {
    const phone = room.phone()
    phone.stage.reply = 100_000
    const first = room.open(phone)
    await room.ready(first)
    first.ask('long')
    await room.clock.advance(200)
    const second = await room.join(room.phone(), first.view.link)
    await room.clock.until('dealt in', () => !spans(first).includes(null))
    await room.ready(first, second)
    expect(first.view.messages.at(-1)?.state).toBe('streaming')
  })
})

describe('preparing', () => {
  test('a device that fails is dealt out, its reason is shown, and later it may try again', async () => {
    const first = room.open(room.phone())
    await room.ready(first)
    const weak = room.phone()
    weak.stage.failures = ['This phone ran out of memory; close other tabs.']
    const second = await room.join(weak, first.view.link)
    await room.clock.until(
      'dealt out',
      () => first.view.devices[1]?.state.kind === 'failed',
    )
    expect(first.view.devices[1]?.state).toEqual({
      kind: 'failed',
      message: 'This phone ran out of memory; close other tabs.',
    })
    expect(first.view.status.kind).toBe('ready')
    expect(spans(first)).toEqual([[0, 8], null])
    await room.clock.until('back', () => spans(first)[1] !== null, 60_000)
    await room.ready(first, second)
  })

  test('a coordinator that leaves in the middle of a preparation is replaced', async () => {
    const phones = [room.phone(), room.phone(), room.phone()]
    const first = room.open(phones[0]!)
    const second = await room.join(phones[1]!, first.view.link)
    await room.ready(first, second)
    phones[1]!.stage.prepareMs = 5000
    const third = await room.join(phones[2]!, first.view.link)
    await room.clock.until('preparing', () => phones[1]!.stage.prepared.length > 1)
    phones[0]!.page.hide()
    await room.ready(second, third)
    const total = second.view.devices.reduce(
      (sum, { span }) => sum + (span ? span.to - span.from : 0),
      0,
    )
    expect(total).toBe(8)
  })

  test('a device that never gets ready is dealt out', async () => {
    const first = room.open(room.phone())
    await room.ready(first)
    const stuck = room.phone()
    stuck.stage.stuck = true
    await room.join(stuck, first.view.link)
    await room.clock.advance(120_000)
    expect(first.view.status.kind).toBe('ready')
    expect(first.view.devices[1]?.state).toMatchObject({ kind: 'failed' })
  })
})

describe('at the door', () => {
  test('with the code one knocks; both see six digits; anybody may let one in', async () => {
    const first = room.open(room.phone())
    const second = await room.join(room.phone(), first.view.link)
    await room.ready(first, second)
    let digits = ''
    const entering = room.knock(
      room.phone(),
      first.view.code,
      (shown) => (digits = shown),
    )
    await room.clock.until('seen by all', () => second.view.knocks.length === 1)
    expect(second.view.knocks).toEqual(first.view.knocks)
    expect(second.view.knocks[0]).toMatchObject({ name: 'Phone 3', digits })
    second.admit(second.view.knocks[0]!.id)
    await room.clock.advance(1000)
    const third = await entering
    await room.ready(first, second, third)
    expect(first.view.knocks).toEqual([])
  })

  test('who is denied is told so', async () => {
    const first = room.open(room.phone())
    await room.ready(first)
    const entering = room.knock(room.phone(), first.view.code, () => undefined)
    const told = expect(entering).rejects.toThrow(/did not let this phone in/)
    await room.clock.until('seen', () => first.view.knocks.length === 1)
    first.deny(first.view.knocks[0]!.id)
    await room.clock.advance(1000)
    await told
    expect(first.view.devices).toHaveLength(1)
  })

  test('a fourth knock within a minute is turned away, a wrong code reaches nobody', async () => {
    const first = room.open(room.phone())
    await room.ready(first)
    const turn = async (code: string, says: RegExp): Promise<void> => {
      const told = expect(
        room.knock(room.phone(), code, () => undefined),
      ).rejects.toThrow(says)
      await room.clock.advance(6000)
      const [knock] = first.view.knocks
      if (knock) first.deny(knock.id)
      await room.clock.advance(100)
      await told
    }
    for (let i = 0; i < 3; i += 1) await turn(first.view.code, /did not let/)
    await turn(first.view.code, /Too many phones/)
    await turn('ZZZZZZ', /No room answers/)
    await expect(room.knock(room.phone(), 'OI', () => undefined)).rejects.toThrow(
      /six letters/,
    )
  })

  test('the door moves with the coordinator', async () => {
    const phones = [room.phone(), room.phone()]
    const first = room.open(phones[0]!)
    const second = await room.join(phones[1]!, first.view.link)
    await room.ready(first, second)
    room.net.vanish(phones[0]!.host)
    await room.clock.until('took over', () => second.view.devices.length === 1)
    await room.clock.advance(1000)
    const entering = room.knock(room.phone(), second.view.code, () => undefined)
    await room.clock.until('seen', () => second.view.knocks.length === 1)
    second.admit(second.view.knocks[0]!.id)
    await room.clock.advance(1000)
    await room.ready(second, await entering)
  })
})
