import { beforeEach, expect, test } from 'vitest'
import { ALONE_MS } from './coordinator.ts'
import { JOIN_QUIET_MS } from './improve.ts'
import { foundRoom } from './membership.ts'
import type { Facts, Message } from './protocol.ts'
import { Replica } from './replica.ts'
import { fakeManifest } from './testing/fake-workers.ts'
import { ID_A, ID_B, INSTANCE, SAMPLES } from './testing/messages.ts'
import { dealLayers } from './testing/plain-deal.ts'
import { seededBytes } from './testing/seeded.ts'
import { VirtualClock } from './testing/virtual-clock.ts'

let clock: VirtualClock
let sent: { at: number; message: Message }[]
let linked: Map<string, string>
let replica: Replica

const idle = (other: string): Facts => ({
  ...SAMPLES.facts.facts,
  memoryBudget: 1e9,
  state: { kind: 'idle' },
  prepared: null,
  links: [{ device: other, rttMs: 1, bytesPerMs: null }],
})

beforeEach(() => {
  clock = new VirtualClock()
  sent = []
  linked = new Map()
  const links = {
    linked,
    send: () => true,
    broadcast: (message: Message) => void sent.push({ at: clock.now(), message }),
  }
  const self = { device: ID_A, instance: INSTANCE }
  const random = seededBytes(1)
  const given = { self, clock, random, deal: dealLayers, expected: null }
  replica = new Replica({ ...given, facts: idle(ID_B) }, links, () => undefined)
  replica.found(foundRoom(ID_A, INSTANCE, '/m/', 7))
})

test('plans as soon as it has waited long enough, whatever else happens', async () => {
  replica.setManifest(fakeManifest(8))
  await clock.advance(ALONE_MS - 1)
  expect(replica.state?.next).toBeNull()
  await clock.advance(1)
  expect(replica.state?.next?.stages).toHaveLength(1)
  const { epoch } = replica.state!.next!
  replica.tell({ prepared: { epoch, result: 'ready' } })
  expect(replica.state?.active?.stages).toHaveLength(1)
  linked.set(ID_B, INSTANCE)
  replica.hear(ID_B, { type: 'facts', facts: idle(ID_A) })
  await clock.advance(JOIN_QUIET_MS - 1)
  expect(replica.state?.next).toBeNull()
  await clock.advance(1)
  expect(replica.state?.next?.stages).toHaveLength(2)
  replica.close()
})

test('tells at once what is new, and no more than four times a second', async () => {
  const told = () =>
    sent.flatMap(({ at, message }) => (message.type === 'facts' ? [at] : []))
  await clock.advance(1000)
  const from = clock.now()
  for (let i = 0; i < 10; i++) {
    replica.tell({ memoryUsed: i })
    await clock.advance(50)
  }
  await clock.advance(1000)
  expect(told().map((at) => at - from)).toEqual([0, 250, 500])
  const last = sent.findLast(({ message }) => message.type === 'facts')?.message
  expect(last).toMatchObject({ facts: { memoryUsed: 9 } })
  replica.close()
})
