/**
 * `npm test`: all checks, then one line `N passed, N failed, N skipped`.
 * Names of steps as arguments run only those: `npm test -- unit e2e`.
 */
import { spawn } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ROOT } from '../app/serve/build.ts'
import { ensureChromium } from './fixtures/chromium.ts'
import { add, NONE, playwrightTally, summary, vitestTally, type Tally } from './tally.ts'

/** All steps together, ms. */
const LIMIT = 24 * 60_000
/** What Playwright is left to end its browsers and to write its report, ms. */
const REPORTING = 60_000
const REPORTS = join(ROOT, '.cache', 'reports')
const UNIT_REPORT = join(REPORTS, 'vitest.json')
const E2E_REPORT = join(REPORTS, 'playwright.json')

interface Step {
  readonly name: string
  /** @param limit after which it is ended, ms. */
  readonly command: (limit: number) => readonly string[]
  /** Counts its tests; a step without it counts as one. */
  readonly tally?: () => Promise<Tally>
  readonly before?: () => Promise<unknown>
}

const FORMAT: Step = {
  name: 'format',
  command: () => ['prettier', '--check', '--log-level', 'warn', '.'],
}
const LINT: Step = { name: 'lint', command: () => ['eslint', '.', '--max-warnings', '0'] }
const TYPES: Step = { name: 'types', command: () => ['tsc', '-b'] }
const IMPORTS: Step = {
  name: 'imports',
  command: () => ['npm', 'run', '--silent', 'imports'],
}
const UNIT: Step = {
  name: 'unit',
  command: () => [
    'vitest',
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${UNIT_REPORT}`,
  ],
  tally: () => vitestTally(UNIT_REPORT),
}
const E2E: Step = {
  name: 'e2e',
  before: ensureChromium,
  command: (limit) => [
    'playwright',
    'test',
    `--global-timeout=${Math.max(1, limit - REPORTING)}`,
  ],
  tally: () => playwrightTally(E2E_REPORT),
}

/** Phases come one after another; the lanes of a phase run side by side, their steps in order. */
const PHASES: readonly (readonly (readonly Step[])[])[] = [
  // Each needs one core and as long as the other.
  [[LINT], [FORMAT, TYPES, IMPORTS]],
  [[UNIT]],
  [[E2E]],
]
const STEPS = PHASES.flat(2)

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.find((name) => !STEPS.some((step) => step.name === name))
  if (unknown !== undefined) {
    const known = STEPS.map(({ name }) => name).join(', ')
    process.stderr.write(`There is no step "${unknown}"; there are ${known}.\n`)
    return 2
  }
  // A report of an earlier run must not be counted.
  await rm(REPORTS, { recursive: true, force: true })
  await mkdir(REPORTS, { recursive: true })
  const end = Date.now() + LIMIT
  let total = NONE
  const failed: string[] = []
  const inOrder = async (steps: readonly Step[]): Promise<void> => {
    for (const step of steps) {
      if (names.length > 0 && !names.includes(step.name)) continue
      process.stdout.write(`\n── ${step.name}\n`)
      const begun = Date.now()
      const tally = await run(step, Math.max(0, end - begun))
      const seconds = Math.round((Date.now() - begun) / 1000)
      process.stdout.write(`── ${step.name}: ${seconds} s\n`)
      if (tally.failed > 0) failed.push(step.name)
      total = add(total, tally)
    }
  }
  for (const lanes of PHASES) await Promise.all(lanes.map(inOrder))
  if (failed.length > 0) process.stdout.write(`\nFailed: ${failed.join(', ')}\n`)
  process.stdout.write(`\n${summary(total)}\n`)
  return total.failed > 0 ? 1 : 0
}

async function run(step: Step, limit: number): Promise<Tally> {
  try {
    await step.before?.()
  } catch (error) {
    process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`)
    return { ...NONE, failed: 1 }
  }
  const ok = await succeeds(step.command(limit), limit)
  const counted = (await step.tally?.()) ?? { ...NONE, passed: ok ? 1 : 0 }
  // Whatever made it fail besides a test (a crash, the time limit) counts too.
  return ok || counted.failed > 0 ? counted : { ...counted, failed: 1 }
}

/** @param limit after which the command and what it started are ended, ms. */
function succeeds(
  [program = '', ...args]: readonly string[],
  limit: number,
): Promise<boolean> {
  const path = `${join(ROOT, 'node_modules', '.bin')}:${process.env['PATH'] ?? ''}`
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: ROOT,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, PATH: path },
      // A process group of its own, to end it whole.
      detached: true,
    })
    const endGroup = (): void => {
      if (child.pid !== undefined && child.exitCode === null)
        process.kill(-child.pid, 'SIGTERM')
    }
    const timer = setTimeout(() => {
      process.stdout.write('The time for all tests is over.\n')
      endGroup()
    }, limit)
    process.once('SIGINT', endGroup)
    child.on('error', () => resolve(false))
    child.on('exit', (code) => {
      clearTimeout(timer)
      process.off('SIGINT', endGroup)
      resolve(code === 0)
    })
  })
}

process.exitCode = await main(process.argv.slice(2))
