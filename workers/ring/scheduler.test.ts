import { describe, expect, it } from 'vitest'
import { Scheduler } from './scheduler.ts'
import { randomFrom, settle } from './testing/fake-room.ts'

describe('the scheduler', () => {
  it('runs one job at a time, those of a sequence in order, and all of them', async () => {
    for (let seed = 1; seed <= 100; seed++) {
      const random = randomFrom(seed)
      const scheduler = new Scheduler()
      const ran = new Map<number, number[]>()
      let running = 0
      const wanted = new Map<number, number[]>()
      for (let i = 0; i < 60; i++) {
        const sequence = Math.floor(random() * 5)
        const isStep = random() < 0.5
        wanted.set(sequence, [...(wanted.get(sequence) ?? []), i])
        scheduler.add({
          sequence,
          isStep,
          async run() {
            expect(++running).toBe(1)
            await settle(Math.floor(random() * 10))
            ran.set(sequence, [...(ran.get(sequence) ?? []), i])
            running--
          },
        })
        if (random() < 0.3) await settle(Math.floor(random() * 30))
      }
      await settle(5000)
      expect(ran).toEqual(wanted)
    }
  })

  it('lets one step of each sequence in between two chunks, and no prompt starve', async () => {
    const order: string[] = []
    const scheduler = new Scheduler()
    const job = (sequence: number, isStep: boolean, again = 0) => {
      scheduler.add({
        sequence,
        isStep,
        run() {
          order.push(`${isStep ? 'step' : 'chunk'} ${sequence}`)
          if (again > 0) job(sequence, isStep, again - 1)
          return Promise.resolve()
        },
      })
    }
    for (let i = 0; i < 3; i++) {
      job(1, false)
      job(2, false)
    }
    job(3, true, 5)
    job(4, true, 5)
    await settle()
    const round = ['step 3', 'step 4']
    expect(order).toEqual([
      ...round,
      'chunk 1',
      ...round,
      'chunk 2',
      ...round,
      'chunk 1',
      ...round,
      'chunk 2',
      ...round,
      'chunk 1',
      ...round,
      'chunk 2',
    ])
  })

  it('goes on after a job that throws', async () => {
    const errors: unknown[] = []
    const scheduler = new Scheduler((error) => errors.push(error))
    let ran = false
    scheduler.add({
      sequence: 1,
      isStep: true,
      run: () => Promise.reject(new Error('x')),
    })
    scheduler.add({
      sequence: 1,
      isStep: true,
      run: () => Promise.resolve(void (ran = true)),
    })
    await settle()
    expect(errors).toHaveLength(1)
    expect(ran).toBe(true)
  })
})
