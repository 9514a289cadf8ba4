/** The room under faults: many seeds, invariants after each step. */
import { setMaxListeners } from 'node:events'
import { expect, test } from 'vitest'
import type { Epoch } from '../../workers/ring/types.ts'
import {
  compareEpochs,
  compareRanks,
  fold,
  foundRoom,
  type RoomEvent,
  type RoomState,
} from './membership.ts'
import type { Session } from './session.ts'
import { FakeRoom, type Phone } from './testing/fake-room.ts'
import { seeded } from './testing/seeded.ts'

setMaxListeners(64)

const LAYERS = 8
const SEEDS = Number(process.env['CHOIR_SEEDS'] ?? 25)
const STEPS = 14

test('folding is pure, counts its events, and join numbers never come twice', () => {
  const next = seeded(3)
  const devices = ['a', 'b', 'c', 'd']
  let state = foundRoom('a', 'i0', '/m/', 1)
  const given = new Set([1])
  for (let i = 0; i < 2000; i += 1) {
    const device = devices[Math.floor(next() * 4)]!
    const salt = Math.floor(next() * 65_536)
    const events: RoomEvent[] = [
      { kind: 'join', device, instance: `i${Math.floor(next() * 3)}` },
      { kind: 'leave', devices: [device], lost: next() < 0.5 ? { salt } : null },
      { kind: 'takeover', device, instance: 'i0', gone: [devices[0]!], salt },
      { kind: 'plan', stages: [{ device, from: 0, to: LAYERS }] },
      { kind: 'short', missingBytes: Math.floor(next() * 2) },
      { kind: 'bench', device, reason: 'No.' },
      { kind: 'unbench', device },
    ]
    if (state.active)
      events.push({ kind: 'hold', epoch: state.active.epoch, holds: [[LAYERS]] })
    if (state.next) events.push({ kind: 'activate', epoch: state.next.epoch })
    const event = events[Math.floor(next() * events.length)]!
    // The coordinator does not remove itself.
    if (event.kind === 'leave' && device === state.coordinator) continue
    const before = JSON.stringify(state)
    const after: RoomState = fold(state, event)
    expect(JSON.stringify(state)).toBe(before)
    expect(fold(state, event)).toEqual(after)
    if (after === state) continue
    expect(compareRanks(after, state)).toBeGreaterThan(0)
    for (const { join } of after.members)
      if (!state.members.some((member) => member.join === join)) {
        expect(given.has(join)).toBe(false)
        given.add(join)
      }
    // Terms and join numbers run out in decades, not here: start again.
    state =
      after.nextJoin > 30_000 || after.term > 2 ** 31
        ? foundRoom('a', 'i0', '/m/', 1)
        : after
    if (state.number === 1) {
      given.clear()
      given.add(1)
    }
  }
})

test('of two states exactly one holds', () => {
  const rank = (term: number, number: number, coordinator: string) => ({
    term,
    number,
    coordinator,
  })
  expect(compareRanks(rank(2, 1, 'a'), rank(1, 9, 'a'))).toBeGreaterThan(0)
  expect(compareRanks(rank(1, 2, 'a'), rank(1, 1, 'a'))).toBeGreaterThan(0)
  expect(compareRanks(rank(1, 1, 'a'), rank(1, 9, 'b'))).toBeGreaterThan(0)
  expect(compareRanks(rank(1, 9, 'b'), rank(1, 1, 'a'))).toBeLessThan(0)
})

test('the larger side of a partition has the later term', () => {
  let state = foundRoom('a', 'i', '/m/', 5)
  for (const device of ['b', 'c', 'd', 'e'])
    state = fold(state, { kind: 'join', device, instance: 'i' })
  const large = fold(state, { kind: 'leave', devices: ['e'], lost: { salt: 1 } })
  const small = fold(state, {
    kind: 'takeover',
    device: 'e',
    instance: 'i',
    gone: ['a', 'b', 'c', 'd'],
    salt: 60_000,
  })
  expect(compareRanks(large, small)).toBeGreaterThan(0)
})

interface One {
  readonly phone: Phone
  readonly session: Session
  epoch: Epoch | null
}

/** What must hold in every moment. */
function check(all: One[]): void {
  for (const one of all) {
    const { view } = one.session
    const { epoch, status } = view
    if (status.kind === 'ready') {
      if (epoch && one.epoch)
        expect(compareEpochs(epoch, one.epoch)).toBeGreaterThanOrEqual(0)
      one.epoch = epoch
      const spans = view.devices.flatMap(({ span }) => (span ? [span] : []))
      spans.sort((a, b) => a.from - b.from)
      expect(spans[0]?.from).toBe(0)
      expect(spans.at(-1)?.to).toBe(LAYERS)
      spans.forEach(({ from }, i) => expect(from).toBe(spans[i - 1]?.to ?? 0))
      expect(view.devices.filter(({ starter }) => starter)).toHaveLength(1)
    }
    const activated = one.phone.stage.activated
    activated.slice(1).forEach((later, i) => {
      expect(compareEpochs(later, activated[i]!)).toBeGreaterThan(0)
    })
  }
}

/** After some quiet: one coordinator on each side, and everybody agrees. */
function checkQuiet(all: One[], side: (host: string) => number): void {
  const sides = new Map<number, One[]>()
  for (const one of all) {
    const k = side(one.phone.host)
    sides.set(k, [...(sides.get(k) ?? []), one])
  }
  for (const members of sides.values()) {
    const ids = members.map(({ phone }) => phone.options.identity.device).sort()
    for (const { session } of members) {
      const { devices, status } = session.view
      expect(devices.map(({ id }) => id).sort()).toEqual(ids)
      expect(devices.filter(({ coordinator }) => coordinator)).toHaveLength(1)
      expect(status.kind).toBe('ready')
    }
    const coordinators = members.map(
      ({ session }) => session.view.devices.find((device) => device.coordinator)?.id,
    )
    expect(new Set(coordinators).size).toBe(1)
    expect(
      new Set(members.map(({ session }) => JSON.stringify(session.view.epoch))).size,
    ).toBe(1)
  }
}

test.each(Array.from({ length: SEEDS }, (_, seed) => seed))(
  'seed %i: joins, farewells, deaths and partitions end in one agreed room each',
  async (seed) => {
    const next = seeded(seed + 100)
    const room = new FakeRoom(LAYERS)
    room.net.latency = () => 2 + next() * 8
    let halves = new Map<string, number>()
    const side = (host: string): number => halves.get(host) ?? 0
    room.net.isCut = (a, b) => side(a) !== side(b)
    const first = room.phone()
    const all: One[] = [{ phone: first, session: room.open(first), epoch: null }]
    const link = all[0]!.session.view.link
    await room.clock.advance(500)
    for (let step = 0; step < STEPS; step += 1) {
      const dice = next()
      const victim = all[Math.floor(next() * all.length)]!
      if (dice < 0.4 && all.length < 6) {
        const phone = room.phone()
        halves.set(phone.host, side(victim.phone.host))
        all.push({ phone, session: await room.join(phone, link), epoch: null })
      } else if (dice < 0.55 && all.length > 1) {
        all.splice(all.indexOf(victim), 1)
        if (next() < 0.5) victim.phone.page.hide()
        else room.net.vanish(victim.phone.host)
      } else if (dice < 0.7 && halves.size === 0 && all.length > 1) {
        halves = new Map(all.map(({ phone }) => [phone.host, Math.floor(next() * 2)]))
      } else if (dice < 0.85) {
        halves = new Map()
        for (const { phone } of all) phone.page.show()
      } else {
        victim.phone.stage.prepareMs = next() * 3000
      }
      const moments = 1 + Math.floor(next() * 4)
      for (let i = 0; i < moments; i += 1) {
        await room.clock.advance(next() * 3000)
        check(all)
      }
    }
    await room.clock.advance(45_000)
    check(all)
    checkQuiet(all, side)
    halves = new Map()
    for (const { phone } of all) phone.page.show()
    await room.clock.advance(60_000)
    check(all)
    checkQuiet(all, side)
    room.net.close()
  },
)
