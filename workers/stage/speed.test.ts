import { expect, it } from 'vitest'
import { fakeManifest } from '../ring/testing/fake-model.ts'
import { Speed } from './speed.ts'

// All segments of this model cost the same: 4 layers, embedding and head.
const manifest = fakeManifest({ layers: 4 })
const whole = () => new Speed(manifest, [{ from: 0, to: 4, embed: true, head: true }])

it('takes the middle of the newest steps, less what embedding and head take', () => {
  const speed = whole()
  expect(speed.msPerLayer).toBeNull()
  for (const ms of [60, 66, 72, 6000]) speed.add(0, 1, ms)
  expect(speed.msPerLayer).toBeCloseTo(11.5)
  expect(speed.msStarter).toBeCloseTo(23)
  for (let i = 0; i < 12; i++) speed.add(0, 1, 12)
  expect(speed.msPerLayer).toBeCloseTo(2)
})

it('sees a device that slows down within a window, also where it stutters', () => {
  const speed = whole()
  for (let i = 0; i < 40; i++) speed.add(0, 1, 6)
  // Stopped for half of the time: every other step takes long.
  for (let i = 0; i < 15; i++) speed.add(0, 1, i % 2 === 0 ? 6 : 30)
  expect(speed.msPerLayer).toBeGreaterThan(2)
  expect(speed.msPerLayer).toBeLessThan(4)
})

it('knows the new speed after four steps of it, and again when it is over', () => {
  const speed = whole()
  for (let i = 0; i < 15; i++) expect(speed.add(0, 1, 6 + (i % 3) * 0.3)).toBe(false)
  for (let i = 0; i < 3; i++) expect(speed.add(0, 1, 24)).toBe(false)
  expect(speed.msPerLayer).toBeLessThan(1.3)
  expect(speed.add(0, 1, 24)).toBe(true)
  expect(speed.msPerLayer).toBeCloseTo(4)
  for (let i = 0; i < 4; i++) expect(speed.add(0, 1, 6)).toBe(i === 3)
  expect(speed.msPerLayer).toBeCloseTo(1)
})

it('takes a few long drafts for no change of speed', () => {
  const speed = whole()
  for (let i = 0; i < 15; i++) speed.add(0, 1, 6)
  for (let i = 0; i < 4; i++) speed.add(0, 8, 24)
  expect(speed.msPerLayer).toBeLessThan(1.5)
})

it('keeps prompts apart from steps, and drafts with them', () => {
  const speed = whole()
  speed.add(0, 64, 64 * 3)
  expect(speed.msPerLayer).toBeNull()
  expect(speed.msPerLayerPrefill).toBeCloseTo(0.5)
  speed.add(0, 4, 12)
  expect(speed.msPerLayer).toBeCloseTo(2)
  expect(speed.msPerLayerPrefill).toBeCloseTo(0.5)
})

it('adds up what a starter does besides its layers', () => {
  const starter = new Speed(manifest, [
    { from: 0, to: 1, embed: true, head: false },
    { from: 4, to: 4, embed: false, head: true },
  ])
  starter.add(1, 1, 500)
  expect(starter.msPerLayer).toBeNull()
  expect(starter.msStarter).toBeNull()
  starter.add(0, 1, 8)
  expect(starter.msPerLayer).toBeCloseTo(4)
  expect(starter.msStarter).toBeCloseTo(504)
  starter.add(0, 64, 1000)
  starter.add(0, 1, 6)
  expect(starter.steps).toEqual([
    { count: 2, ms: 14, squareMs: 100 },
    { count: 1, ms: 500, squareMs: 250_000 },
  ])
})

it('knows nothing of what another engine did before it', () => {
  const speed = whole()
  speed.add(0, 1, 600)
  speed.add(0, 64, 6400)
  speed.clear()
  expect(speed.msPerLayer).toBeNull()
  expect(speed.msPerLayerPrefill).toBeNull()
  speed.add(0, 1, 12)
  expect(speed.msPerLayer).toBeCloseTo(2)
})
