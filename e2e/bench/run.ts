/**
 * `npm run bench -- [part …] [--rounds N] [--gguf file] [--json file [--more]]`: measures the
 * built app in headless Chromium against its rivals and against itself. Rows are ratios of speeds within
 * one run; see docs/benchmarks.md.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { chromium } from '@playwright/test'
import { ensureBuilt } from '../../app/serve/build.ts'
import { CHROMIUM_ARGS, ensureChromium } from '../fixtures/chromium.ts'
import { startServer } from '../fixtures/server.ts'
import type { Bench } from './bench.ts'
import { findModels } from './models.ts'
import { PARTS } from './parts/parts.ts'
import { table, withRounds, type Row } from './rows.ts'

const LIMIT_MS = 10 * 60_000

interface Choice {
  readonly parts: readonly string[]
  readonly rounds: number
  readonly gguf: string | null
  readonly json: string | null
  /** Rounds are added to those that the file holds. */
  readonly more: boolean
}

function choose(args: readonly string[]): Choice {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: '3' },
      gguf: { type: 'string' },
      json: { type: 'string' },
      more: { type: 'boolean', default: false },
    },
  })
  const known = Object.keys(PARTS)
  const parts = positionals.flatMap((name) => {
    const found = known.filter((part) => part === name || part.startsWith(`${name}.`))
    if (found.length > 0) return found
    throw new Error(`There is no part "${name}"; there are ${known.join(', ')}.`)
  })
  const rounds = Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 20)
    throw new Error(`--rounds takes a number from 1 to 20, not "${values.rounds}".`)
  return {
    parts: parts.length > 0 ? parts : known,
    rounds,
    gguf: values.gguf ?? null,
    json: values.json ?? null,
    more: values.more,
  }
}

async function run({ parts, rounds, gguf, json, more }: Choice): Promise<boolean> {
  const executablePath = await ensureChromium()
  log('Building and serving the app')
  await ensureBuilt()
  const app = await startServer()
  const models = findModels(gguf)
  const rows: Row[] = []
  const before = more && json !== null ? await rowsIn(json) : []
  let sound = true
  try {
    for (const name of parts) {
      const part = PARTS[name]
      if (!part) continue
      log(`${name}:`)
      // A browser of its own: nothing that a part leaves behind slows the next one down.
      const browser = await chromium.launch({ executablePath, args: CHROMIUM_ARGS })
      const began = performance.now()
      try {
        const first = before.find(({ id }) => id.startsWith(name))?.rounds ?? 0
        const bench: Bench = { browser, app, models, rounds, first, log }
        for (const row of await within(LIMIT_MS, part(bench)))
          rows.push(
            withRounds(
              row,
              before.find(({ id }) => id === row.id),
            ),
          )
        log(`  ${((performance.now() - began) / 1000).toFixed(0)} s`)
      } catch (error) {
        sound = false
        log(`  failed: ${error instanceof Error ? error.message : String(error)}`)
      } finally {
        await browser.close()
      }
      if (json !== null) await keep(json, rows)
    }
  } finally {
    await app.close()
  }
  process.stdout.write(`\n${table(rows)}\n`)
  return sound
}

/** Rows of other parts that the file holds already stay. */
async function keep(file: string, rows: readonly Row[]): Promise<void> {
  const ids = new Set(rows.map(({ id }) => id))
  const all = [...(await rowsIn(file)).filter(({ id }) => !ids.has(id)), ...rows]
  await writeFile(file, `${JSON.stringify(all, null, 2)}\n`)
}

async function rowsIn(file: string): Promise<Row[]> {
  return (await readFile(file, 'utf8')
    .then((text): unknown => JSON.parse(text))
    .catch(() => [])) as Row[]
}

async function within<T>(limit: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('it took longer than 10 minutes')), limit)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

function log(line: string): void {
  process.stderr.write(`${line}\n`)
}

try {
  process.exit((await run(choose(process.argv.slice(2)))) ? 0 : 1)
} catch (error) {
  log(error instanceof Error ? error.message : String(error))
  process.exit(1)
}
