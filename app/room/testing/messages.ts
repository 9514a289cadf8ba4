/** One good message of each type. */
import type { Message } from '../protocol.ts'

export const ID_A = 'A'.repeat(22)
export const ID_B = `B${'A'.repeat(21)}`
export const INSTANCE = `00loyw3v4-${'A'.repeat(11)}`
const digest = 'A'.repeat(43)
const epoch = { term: 65_536, number: 1 }

export const SAMPLES: { readonly [T in Message['type']]: Message & { type: T } } = {
  hello: { type: 'hello', version: 1, device: ID_A, instance: INSTANCE, nonce: ID_B },
  proof: { type: 'proof', mac: digest, linked: false },
  accept: { type: 'accept' },
  accepted: { type: 'accepted' },
  bye: { type: 'bye', reason: 'leaving' },
  ping: { type: 'ping', n: 1, rank: { term: 65_536, number: 3, coordinator: ID_A } },
  pong: { type: 'pong', n: 1 },
  state: {
    type: 'state',
    state: {
      term: 65_536,
      number: 3,
      coordinator: ID_A,
      model: '/models/x/',
      nextJoin: 3,
      planNumber: 1,
      members: [
        { device: ID_A, instance: INSTANCE, join: 1 },
        { device: ID_B, instance: INSTANCE, join: 2 },
      ],
      active: {
        epoch,
        stages: [
          { device: ID_A, from: 0, to: 4 },
          { device: ID_B, from: 4, to: 8, hold: [2, 3] },
        ],
      },
      next: null,
      missingBytes: null,
      benched: [{ device: ID_B, reason: 'It failed.' }],
      leftOut: [{ device: ID_B, why: 'It is slow.' }],
      notes: [{ at: 1_700_000_000_000, text: 'moved layer 3 from A to B' }],
    },
  },
  facts: {
    type: 'facts',
    facts: {
      name: 'Phone',
      engine: 'wasm',
      memoryBudget: 1000,
      memoryUsed: 10,
      memoryProbed: 2000,
      mode: 'lean',
      msPerLayer: 2.5,
      msPerLayerPrefill: 0.5,
      msStarter: null,
      slowdown: 1.5,
      lap: { epoch, ms: 31.5 },
      holds: [2, 3],
      links: [{ device: ID_B, rttMs: 3, bytesPerMs: 2500 }],
      state: { kind: 'fetching', doneBytes: 1, totalBytes: 2 },
      prepared: { epoch, result: 'working' },
      running: 0,
      battery: { level: 0.5, charging: false },
      visible: true,
    },
  },
  knocks: { type: 'knocks', knocks: [{ id: ID_A, name: 'Guest', digits: '012345' }] },
  verdict: { type: 'verdict', knock: ID_A, allow: true },
  knock: { type: 'knock', version: 1, name: 'Guest', commitment: digest },
  'knock-nonce': { type: 'knock-nonce', nonce: ID_A },
  'knock-reveal': { type: 'knock-reveal', nonce: ID_A },
  admitted: { type: 'admitted', secret: ID_A },
  denied: { type: 'denied', reason: 'busy' },
}
