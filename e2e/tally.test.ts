import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { add, playwrightTally, summary, vitestTally } from './tally.ts'

let folder: string
let file: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'choir-tally-'))
  file = join(folder, 'report.json')
})
afterEach(() => rm(folder, { recursive: true }))

const report = (value: object): Promise<void> => writeFile(file, JSON.stringify(value))

it('counts the files that did not load among the failures', async () => {
  await report({
    numPassedTests: 5,
    numFailedTests: 1,
    numPendingTests: 2,
    numTodoTests: 1,
    testResults: [
      { status: 'failed', assertionResults: [{}] },
      { status: 'failed', assertionResults: [] },
      { status: 'passed', assertionResults: [{}] },
    ],
  })
  expect(await vitestTally(file)).toEqual({ passed: 5, failed: 2, skipped: 3 })
})

it('counts tests that pass only sometimes, and errors outside of tests, as failed', async () => {
  await report({
    stats: { expected: 4, unexpected: 1, flaky: 1, skipped: 2 },
    errors: [{}],
  })
  expect(await playwrightTally(file)).toEqual({ passed: 4, failed: 3, skipped: 2 })
})

it('counts a missing or broken report as a failure', async () => {
  expect(await vitestTally(file)).toEqual({ passed: 0, failed: 1, skipped: 0 })
  await writeFile(file, '{"stats":')
  expect(await playwrightTally(file)).toEqual({ passed: 0, failed: 1, skipped: 0 })
})

it('sums up in one line', () => {
  const all = add(
    { passed: 1, failed: 0, skipped: 0 },
    { passed: 2, failed: 0, skipped: 0 },
  )
  expect(summary(all)).toBe('3 passed, 0 failed')
  expect(summary({ ...all, skipped: 2 })).toBe('3 passed, 0 failed, 2 skipped')
})
