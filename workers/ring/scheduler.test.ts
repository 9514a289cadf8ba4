import { describe, expect, it } from 'vitest'
import { CALLS, Scheduler, type Work } from './scheduler.ts'
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
          work: CALLS,
          task: async () => {
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
        work: CALLS,
        task: () => {
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

  it('runs waiting steps of one work together, in order, each as often as by itself', async () => {
    const calls: string[][] = []
    const scheduler = new Scheduler()
    const workOf = (most: number): Work<string> => ({
      most: (sequences) => Math.min(most, sequences.length),
      run: async (tasks) => {
        calls.push([...tasks])
        await settle(3)
      },
    })
    const [pairs, others] = [workOf(2), workOf(9)]
    const add = (sequence: number, work: Work<string>, isStep = true) => {
      scheduler.add({
        sequence,
        isStep,
        work,
        task: `${isStep ? '' : 'chunk '}${sequence}`,
      })
    }
    for (const sequence of [1, 2, 3, 4, 5, 1]) add(sequence, pairs)
    for (const sequence of [6, 7]) add(sequence, others)
    for (const sequence of [8, 9]) add(sequence, pairs, false)
    await settle()
    expect(calls).toEqual([
      ['1', '2'],
      ['3', '4'],
      ['5'],
      ['6', '7'],
      // One step of each sequence between two chunks.
      ['chunk 8'],
      ['1'],
      ['chunk 9'],
    ])
  })

  it('listens after each call, and what it hears gets in line', async () => {
    const order: string[] = []
    const arriving = [
      [['chunk 1', false]],
      [
        ['step 2', true],
        ['chunk 1', false],
      ],
      [['step 3', true]],
    ] as const
    let turns = 0
    const scheduler: Scheduler = new Scheduler(undefined, () => {
      for (const [name, isStep] of arriving[turns++] ?? []) add(name, isStep)
      return Promise.resolve()
    })
    const add = (name: string, isStep: boolean) => {
      const task = () => Promise.resolve(void order.push(name))
      scheduler.add({ sequence: Number(name.at(-1)), isStep, task, work: CALLS })
    }
    add('chunk 1', false)
    await settle()
    expect(order).toEqual(['chunk 1', 'chunk 1', 'step 2', 'step 3', 'chunk 1'])
  })

  it('goes on after a job that throws', async () => {
    const errors: unknown[] = []
    const scheduler = new Scheduler((error) => errors.push(error))
    let ran = false
    scheduler.add({
      sequence: 1,
      isStep: true,
      work: CALLS,
      task: () => Promise.reject(new Error('x')),
    })
    scheduler.add({
      sequence: 1,
      isStep: true,
      work: CALLS,
      task: () => Promise.resolve(void (ran = true)),
    })
    await settle()
    expect(errors).toHaveLength(1)
    expect(ran).toBe(true)
  })
})
