import { expect, it } from 'vitest'
import { deviceView } from '../room/testing/views.ts'
import { isSinging, ringOf } from './stages.ts'

const link = (device: string, rttMs: number) => ({ device, rttMs, bytesPerMs: null })

it('puts phones in ring order with half a round trip between them', () => {
  const devices = [
    deviceView({ id: 'c', span: { from: 4, to: 8 }, links: [link('a', 6)] }),
    deviceView({ id: 'idle' }),
    deviceView({
      id: 'a',
      starter: true,
      span: { from: 0, to: 2 },
      links: [link('b', 8)],
    }),
    deviceView({ id: 'b', span: { from: 2, to: 4 } }),
  ]
  const { ring, others } = ringOf({ devices })
  expect(ring.map(({ device, linkMs }) => [device.id, linkMs])).toEqual([
    ['a', 4],
    ['b', null],
    ['c', 3],
  ])
  expect(others.map(({ id }) => id)).toEqual(['idle'])
})

it('a starter without layers still begins the ring', () => {
  const devices = [
    deviceView({ id: 'b', span: { from: 0, to: 8 } }),
    deviceView({ id: 'a', starter: true, links: [link('b', 10)] }),
  ]
  expect(ringOf({ devices }).ring.map(({ linkMs }) => linkMs)).toEqual([5, 5])
})

it('a lone phone has no link', () => {
  const devices = [deviceView({ starter: true, span: { from: 0, to: 8 } })]
  expect(ringOf({ devices }).ring.map(({ linkMs }) => linkMs)).toEqual([null])
})

it('something travels while anybody is answered', () => {
  expect(isSinging({ messages: [], othersAsking: 0 })).toBe(false)
  expect(isSinging({ messages: [], othersAsking: 1 })).toBe(true)
})
