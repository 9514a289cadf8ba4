import { expect, test } from 'vitest'
import {
  asLine,
  encodeMessage,
  Malformed,
  MAX_MESSAGE_LENGTH,
  parseMessage,
} from './protocol.ts'
import { Replica } from './replica.ts'
import { dealLayers } from './testing/plain-deal.ts'
import { compareRanks, foundRoom } from './membership.ts'
import { ID_A, ID_B, INSTANCE, SAMPLES } from './testing/messages.ts'
import { seeded, seededBytes } from './testing/seeded.ts'
import { VirtualClock } from './testing/virtual-clock.ts'

const samples = Object.values(SAMPLES)

test.each(samples.map((message) => [message.type, message] as const))(
  '%s survives the way there',
  (_, message) => expect(parseMessage(encodeMessage(message))).toEqual(message),
)

test.each([
  ['bytes', new Uint8Array(3)],
  ['nothing', undefined],
  ['no JSON', '{'],
  ['a list', '[]'],
  ['null', 'null'],
  ['an unknown type', '{"type":"toString"}'],
  ['no text as type', '{"type":1}'],
  ['a member too many', '{"type":"accept","extra":1}'],
  ['a prototype', '{"type":"accept","__proto__":{"x":1}}'],
  ['a long message', `{"type":"accept","x":"${'a'.repeat(MAX_MESSAGE_LENGTH)}"}`],
  ['more than its type allows', `{"type":"accept"${' '.repeat(200)}}`],
  ['deep nesting', '['.repeat(60_000)],
  ['control characters in a name', JSON.stringify({ ...SAMPLES.knock, name: 'a\nb' })],
])('%s is malformed', (_, data) => expect(parseMessage(data)).toBeInstanceOf(Malformed))

test('a state must make sense', () => {
  const { state } = SAMPLES.state
  const [a, b] = state.members
  for (const change of [
    { coordinator: 'C'.repeat(21) + 'A' },
    { members: [a, a] },
    { members: [b, a] },
    { members: [] },
    { nextJoin: 2 },
    { active: { ...state.active, stages: [{ device: ID_A, from: 1, to: 8 }] } },
    {
      active: {
        ...state.active,
        stages: [
          { device: ID_A, from: 0, to: 4 },
          { device: ID_A, from: 4, to: 8 },
        ],
      },
    },
    ...[[4], [5, 4], [0, 0], [0.5], [-1]].map((hold) => ({
      active: {
        ...state.active,
        stages: [
          { device: ID_A, from: 0, to: 4 },
          { device: ID_B, from: 4, to: 8, hold },
        ],
      },
    })),
    { term: 2 ** 32 },
    { term: -1 },
    { members: Array.from({ length: 17 }, () => a) },
  ]) {
    const data = JSON.stringify({ type: 'state', state: { ...state, ...change } })
    expect(parseMessage(data), JSON.stringify(change)).toBeInstanceOf(Malformed)
  }
})

test('names are cut to one line, never inside a character', () => {
  expect(asLine(' a\n\u2028b ', 40)).toBe('a b')
  expect(asLine('😀😀😀', 5)).toBe('😀😀')
})

/** Changes a text a little: letters, pieces, values. */
function mutate(text: string, next: () => number): string {
  const at = Math.floor(next() * text.length)
  const other = Math.floor(next() * text.length)
  switch (Math.floor(next() * 7)) {
    case 0:
      return text.slice(0, at)
    case 1:
      return text.slice(0, at) + text.slice(at + 1)
    case 2:
      return text.slice(0, at) + String.fromCharCode(next() * 0x3000) + text.slice(at + 1)
    case 3:
      return text.slice(0, at) + text.slice(other) + text.slice(at)
    case 4:
      return text.replace(/\d+/, String((next() - 0.3) * 10 ** (next() * 20)))
    case 5:
      return text.replace(
        /"[^"]*"/,
        ['null', '{}', '[]', '-1', '1e999', 'true', '"__proto__"'][
          Math.floor(next() * 7)
        ] ?? '',
      )
    default:
      return text.replace(/:(\{|\[|"|\d)/, ':[[[$1')
  }
}

test('100,000 mutated messages neither throw nor change the state they do not fit', () => {
  const next = seeded(20)
  const clock = new VirtualClock()
  const links = { linked: new Map(), send: () => true, broadcast: () => undefined }
  const self = { device: ID_B, instance: INSTANCE }
  const replica = new Replica(
    {
      self,
      clock,
      random: seededBytes(1),
      deal: dealLayers,
      expected: 0,
      facts: SAMPLES.facts.facts,
    },
    links,
    () => undefined,
  )
  replica.found(foundRoom(ID_B, INSTANCE, '/m/', 7))
  let malformed = 0
  for (let i = 0; i < 100_000; i += 1) {
    let text = encodeMessage(samples[Math.floor(next() * samples.length)]!)
    for (let k = 0; k <= next() * 3; k += 1) text = mutate(text, next)
    const before = replica.state
    const message = parseMessage(text)
    if (message instanceof Malformed) {
      malformed += 1
    } else {
      replica.hear(ID_A, message)
      const after = replica.state
      // What was taken in is a whole state that outranks the one before.
      if (after !== before && before && after)
        expect(compareRanks(after, before)).toBeGreaterThan(0)
      replica.found(foundRoom(ID_B, INSTANCE, '/m/', 7))
    }
  }
  expect(malformed).toBeGreaterThan(50_000)
  expect(malformed).toBeLessThan(100_000)
  expect(({} as Record<string, unknown>)['x']).toBeUndefined()
})
