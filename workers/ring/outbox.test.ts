import { expect, it } from 'vitest'
import { decodeFrames, encodeFrame, PLAIN, type Frame } from './frame.ts'
import { Outbox } from './outbox.ts'

const frame = (sequence: number): Frame => ({
  ...{ ...PLAIN, kind: 'hidden', epoch: { term: 1, number: 1 }, sequence },
  payload: new Uint8Array(12).fill(sequence),
})
const anything = () => ({ least: 0, most: 100 })
const SIZE = encodeFrame(frame(1)).byteLength

it('sends as one message what leaves for a device in the same turn', async () => {
  const sent: [device: string, sequences: number[], lane: number][] = []
  const outbox = new Outbox((device, message, lane) => {
    const frames = decodeFrames(message, anything) ?? []
    sent.push([device, frames.map(({ sequence }) => sequence), lane])
  }, 3 * SIZE)
  for (const sequence of [1, 2]) outbox.add('b', frame(sequence))
  outbox.add('c', frame(3))
  expect(sent).toEqual([])
  await Promise.resolve()
  expect(sent.splice(0)).toEqual([
    ['b', [1, 2], 1],
    ['c', [3], 3],
  ])
  // No message is longer than the receiver takes.
  for (let sequence = 1; sequence <= 7; sequence++) outbox.add('b', frame(sequence))
  await Promise.resolve()
  expect(sent.splice(0)).toEqual([
    ['b', [1, 2, 3], 1],
    ['b', [4, 5, 6], 4],
    ['b', [7], 7],
  ])
  outbox.add('b', frame(8))
  await Promise.resolve()
  expect(sent).toEqual([['b', [8], 8]])
})
