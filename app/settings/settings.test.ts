import { describe, expect, it } from 'vitest'
import type { RoomSession } from '../room/types.ts'
import { applySampling, readSettings, SettingsStore } from './settings.ts'

const memory = (): {
  getItem: () => string | null
  setItem: (k: string, v: string) => void
} => {
  let kept: string | null = null
  return { getItem: () => kept, setItem: (_, value) => (kept = value) }
}

describe('readSettings', () => {
  it.each([null, '', 'nonsense', '[]', '3', 'null', '{"temperature":"hot","topK":1e9}'])(
    'survives %s',
    (json) => {
      expect(readSettings(json)).toEqual(readSettings('{}'))
    },
  )

  it('keeps the good fields beside a bad one', () => {
    const settings = readSettings(
      '{"temperature":0,"topP":7,"theme":"dark","name":" Bo "}',
    )
    expect(settings).toMatchObject({
      temperature: 0,
      topP: 0.9,
      theme: 'dark',
      name: 'Bo',
    })
  })
})

describe('SettingsStore', () => {
  it('is there after a reload', () => {
    const disk = memory()
    new SettingsStore(disk).update({ system: 'Be brief.', seed: 7 })
    expect(new SettingsStore(disk).value).toMatchObject({ system: 'Be brief.', seed: 7 })
  })

  it('holds choices even when nothing can be stored', () => {
    const refuse = (): never => {
      throw new DOMException('full', 'QuotaExceededError')
    }
    const store = new SettingsStore({ getItem: refuse, setItem: refuse })
    let told = 0
    store.addEventListener('change', () => (told += 1))
    store.update({ temperature: 0 })
    expect([store.value.temperature, told]).toEqual([0, 1])
  })

  it('refuses values outside the limits', () => {
    const store = new SettingsStore(null)
    store.update({ temperature: 99 })
    expect(store.value.temperature).toBe(0.7)
  })
})

it('takes a new seed for each answer unless one is fixed', () => {
  const seeds: (number | undefined)[] = []
  const session = {
    setSampling: (sampling: { seed?: number }) => seeds.push(sampling.seed),
  } as unknown as RoomSession
  let next = 0
  const random = (): number => (next += 1)
  applySampling(session, readSettings('{}'), random)
  applySampling(session, readSettings('{}'), random)
  applySampling(session, readSettings('{"seed":0}'), random)
  expect(seeds).toEqual([1, 2, 0])
})
