import { describe, expect, it } from 'vitest'
import {
  budgetAfterCrash,
  dropCrumb,
  forgetCrashes,
  pickUpCrumb,
  tabLife,
} from './crumb.ts'
import type { CrumbStorage } from './crumb.ts'

function memoryStorage(): CrumbStorage {
  const items = new Map<string, string>()
  return {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => void items.set(key, value),
    removeItem: (key) => void items.delete(key),
  }
}
const gone = () => Promise.resolve(false)
const crumb = { what: 'layers 4 to 12', tab: 'a' }
const start = (storage: CrumbStorage) => budgetAfterCrash(storage, 1600, gone)

describe('a crumb', () => {
  it('that was picked up changes nothing', async () => {
    const storage = memoryStorage()
    dropCrumb(storage, crumb)
    pickUpCrumb(storage)
    expect(await start(storage)).toEqual({ budget: 1600, notice: null })
  })

  it('that is still there halves the budget, and says so once', async () => {
    const storage = memoryStorage()
    dropCrumb(storage, crumb)
    expect(await start(storage)).toEqual({
      budget: 800,
      notice:
        'The browser closed this page while it was loading layers 4 to 12, so it now takes half as much memory.',
    })
    expect(await start(storage)).toEqual({ budget: 800, notice: null })
  })

  it('halves again after each crash, down to a sixteenth, until forgotten', async () => {
    const storage = memoryStorage()
    const budgets: number[] = []
    for (let n = 0; n < 6; n++) {
      dropCrumb(storage, crumb)
      budgets.push((await start(storage)).budget)
    }
    expect(budgets).toEqual([800, 400, 200, 100, 100, 100])
    forgetCrashes(storage)
    expect(await start(storage)).toEqual({ budget: 1600, notice: null })
  })

  it('of a tab that is still loading is left alone', async () => {
    const storage = memoryStorage()
    dropCrumb(storage, crumb)
    const alive = () => Promise.resolve(true)
    expect(await budgetAfterCrash(storage, 1600, alive)).toEqual({
      budget: 1600,
      notice: null,
    })
    expect((await start(storage)).budget).toBe(800)
  })

  it.each(['{', '[]', '{"what":1}'])(
    'that someone else wrote is none: %s',
    async (text) => {
      const storage = memoryStorage()
      storage.setItem('choir.crumb', text)
      storage.setItem('choir.halvings', 'many')
      expect(await start(storage)).toEqual({ budget: 1600, notice: null })
    },
  )

  it('needs no storage', async () => {
    const deny = () => {
      throw new DOMException('denied', 'SecurityError')
    }
    const storage = { getItem: deny, setItem: deny, removeItem: deny }
    dropCrumb(storage, crumb)
    expect(await start(storage)).toEqual({ budget: 1600, notice: null })
  })
})

describe('the life of a tab', () => {
  it('is seen by its lock', async () => {
    const held: { name: string }[] = []
    const locks = {
      request: (name: string) => {
        held.push({ name })
        return new Promise<never>(() => undefined)
      },
      query: () => Promise.resolve({ held, pending: [] }),
    } as unknown as LockManager
    const isAlive = tabLife(locks, 'mine')
    expect(await isAlive('mine')).toBe(true)
    expect(await isAlive('other')).toBe(false)
    expect(await tabLife(undefined, 'mine')('mine')).toBe(false)
  })
})
