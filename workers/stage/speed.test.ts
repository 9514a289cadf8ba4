import { expect, it } from 'vitest'
import { fakeManifest } from '../ring/testing/fake-model.ts'
import { Speed } from './speed.ts'

it('takes the median of single steps, less what embedding and head take', () => {
  // All segments of this model cost the same: 4 layers, embedding and head.
  const manifest = fakeManifest({ layers: 4 })
  const whole = new Speed(manifest, [{ from: 0, to: 4, embed: true, head: true }])
  expect(whole.msPerLayer).toBeNull()
  for (const ms of [60, 66, 6000]) whole.add(0, 1, ms)
  whole.add(0, 64, 1)
  expect(whole.msPerLayer).toBeCloseTo(11)
  for (let i = 0; i < 31; i++) whole.add(0, 1, 12)
  expect(whole.msPerLayer).toBeCloseTo(2)

  const starter = new Speed(manifest, [
    { from: 0, to: 1, embed: true, head: false },
    { from: 4, to: 4, embed: false, head: true },
  ])
  starter.add(1, 1, 500)
  expect(starter.msPerLayer).toBeNull()
  starter.add(0, 1, 8)
  expect(starter.msPerLayer).toBeCloseTo(4)
  starter.add(0, 64, 1000)
  expect(starter.stepsMs).toBe(508)
})
