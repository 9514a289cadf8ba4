import { expect, test } from 'vitest'
import type { Deal, DealDevice, Known } from './deal.ts'
import { DealDesk } from './deal-desk.ts'
import { fakeManifest } from './testing/fake-workers.ts'

const manifest = fakeManifest(8)
const device = (id: string, change: Partial<DealDevice> = {}): DealDevice => ({
  device: id,
  join: 1,
  engine: 'wasm',
  mode: 'packed',
  memoryBudget: 1e9,
  msPerLayer: 2,
  msStarter: 1,
  links: [],
  holds: [],
  well: true,
  ...change,
})
const short = (missingBytes: number): Known => ({ kind: 'short', missingBytes })

/** A desk whose questions are answered by hand, in their order. */
function desk() {
  let now = 0
  const questions: ((answer: Known | Error) => void)[] = []
  const made = new DealDesk(
    () =>
      new Promise((resolve, reject) => {
        questions.push((answer) =>
          answer instanceof Error ? reject(answer) : resolve(answer),
        )
      }),
    () => short(99),
    { now: () => now },
  )
  const ask = (...devices: DealDevice[]) => made.deal(manifest, devices, null, 'lap')
  const settled = async (dealt: ReturnType<Deal>) => {
    if (dealt.kind === 'thinking') await dealt.known
  }
  return { ask, questions, settled, pass: (ms: number) => (now += ms) }
}

test('a question is answered later, and then at once', async () => {
  const { ask, questions, settled } = desk()
  const first = ask(device('a'))
  expect(first.kind).toBe('thinking')
  expect(ask(device('a'))).toEqual(first)
  expect(questions).toHaveLength(1)
  questions[0]?.(short(1))
  await settled(first)
  expect(ask(device('a'))).toEqual(short(1))
})

test('while only measurements change the last answer holds for a moment', async () => {
  const { ask, questions, settled, pass } = desk()
  const first = ask(device('a'))
  questions[0]?.(short(1))
  await settled(first)
  pass(900)
  expect(ask(device('a', { msPerLayer: 3 }))).toEqual(short(1))
  expect(questions).toHaveLength(2)
  pass(200)
  const later = ask(device('a', { msPerLayer: 4 }))
  expect(later.kind).toBe('thinking')
  // Of two questions the newest is asked next.
  questions[1]?.(short(2))
  await settled(later)
  expect(ask(device('a', { msPerLayer: 4 }))).toEqual(short(2))
  expect(questions).toHaveLength(3)
})

test('another room is another question', async () => {
  const { ask, questions, settled } = desk()
  const first = ask(device('a'))
  questions[0]?.(short(1))
  await settled(first)
  expect(ask(device('a'), device('b')).kind).toBe('thinking')
  expect(ask(device('a', { memoryBudget: 1 })).kind).toBe('thinking')
})

test('what cannot be worked out elsewhere is worked out here', async () => {
  const { ask, questions, settled } = desk()
  const first = ask(device('a'))
  questions[0]?.(new Error('no worker'))
  await settled(first)
  expect(ask(device('a'))).toEqual(short(99))
})
