import { expect, test } from 'vitest'
import { alikeStages, batchSize } from './batch-size.ts'

test('what waits at a lone stage is one batch', () => {
  expect(batchSize(5, alikeStages(1))).toBe(5)
})

test('there stay as many batches as alike stages, where no way takes time', () => {
  expect([1, 2, 3, 4, 6].map((count) => batchSize(count, alikeStages(2)))).toEqual([
    1, 1, 1, 2, 3,
  ])
})

test('ways hold batches too, so long ones make them smaller', () => {
  const sizes = [0, 10, 40].map((waysMs) =>
    batchSize(6, { workMs: 20, busiestMs: 10, waysMs }),
  )
  expect(sizes).toEqual([3, 2, 1])
})

test('behind one slow stage batches are larger', () => {
  expect(batchSize(6, { workMs: 20, busiestMs: 18, waysMs: 0 })).toBe(5)
})
