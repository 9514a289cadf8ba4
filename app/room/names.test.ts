import { expect, test } from 'vitest'
import { namesIn } from './names.ts'

const called = (...names: string[]): string[] => {
  const members = names.map((_, i) => ({ device: `${i}`, instance: '', join: i }))
  const facts = new Map(names.map((name, i) => [`${i}`, { name }]))
  return [...namesIn([...members].reverse(), facts)]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([, name]) => name)
}

test('names that are different stay as they are', () => {
  expect(called('Wren', 'Robin')).toEqual(['Wren', 'Robin'])
})

test('who comes later with the same name gets a number', () => {
  expect(called('Wren', 'Wren', 'Robin', 'Wren')).toEqual([
    'Wren',
    'Wren 2',
    'Robin',
    'Wren 3',
  ])
})

test('a number that somebody chose is not given twice', () => {
  expect(called('Wren', 'Wren 2', 'Wren')).toEqual(['Wren', 'Wren 2', 'Wren 3'])
  expect(called('Wren', 'Wren', 'Wren 2')).toEqual(['Wren', 'Wren 2', 'Wren 2 2'])
})

test('those that have not told a name have none', () => {
  expect(called('', '')).toEqual(['', ''])
})
