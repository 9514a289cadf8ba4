import { expect, test } from 'vitest'
import { Thread } from './thread.ts'
import type { Message } from './types.ts'

const says = (id: string, role: Message['role'] = 'user'): Message => ({
  id,
  role,
  text: id,
  state: 'done',
})
const shown = (thread: Thread): string => thread.path.map(({ id }) => id).join(' ')

const two = Thread.EMPTY.add(says('q1'))
  .add(says('a1', 'assistant'))
  .add(says('q2'))
  .add(says('a2', 'assistant'))

test('a changed question opens a branch, and the old one stays', () => {
  const edited = two.add(says('q2b'), 'a1').add(says('a2b', 'assistant'))
  expect(shown(edited)).toBe('q1 a1 q2b a2b')
  expect(edited.path[2]?.versions).toEqual(['q2', 'q2b'])
  const back = edited.choose('q2')
  expect(shown(back)).toBe('q1 a1 q2 a2')
  expect(back.path[2]?.versions).toEqual(['q2', 'q2b'])
  expect(shown(back.choose('q2b'))).toBe('q1 a1 q2b a2b')
})

test('the first question has versions too', () => {
  const edited = two.add(says('q1b'), null)
  expect(shown(edited)).toBe('q1b')
  expect(edited.path[0]?.versions).toEqual(['q1', 'q1b'])
})

test('choosing leads to the newest message behind', () => {
  const again = two.add(says('a2b', 'assistant'), 'q2').add(says('q3'))
  expect(shown(again.choose('q1'))).toBe('q1 a1 q2 a2b q3')
  expect(shown(again.choose('a2'))).toBe('q1 a1 q2 a2')
})

test('messages that do not change stay the same objects', () => {
  const changed = two.change('a2', { text: 'more' })
  expect(changed.path[3]?.text).toBe('more')
  expect(changed.path.slice(0, 3).every((m, i) => m === two.path[i])).toBe(true)
  expect(two.change('nobody', { text: 'more' })).toBe(two)
})

test('nodes without their parent are left out, and loops cannot be made', () => {
  const nodes = [
    { message: says('a'), parent: 'b' },
    { message: says('b'), parent: 'a' },
    { message: says('c'), parent: null },
  ]
  expect(shown(Thread.of(nodes, 'a'))).toBe('c')
  expect(shown(Thread.of([...two.nodes.values()], 'a1'))).toBe('q1 a1')
})
