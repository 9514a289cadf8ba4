/** npm run chain -- <cut folder> --spans 0-2,2-4 --ids 163,499,105 --steps 5 [--json <file>] */
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import type { Optimisation } from '../run/runner.ts'
import { argmax, Chain, parseSpans } from '../run/chain.ts'
import { openCutFolder } from '../run/folder.ts'
import { fail } from './terminal.ts'

const USAGE =
  'Usage: npm run chain -- <cut folder> --spans 0-2,2-4 --ids 163,499,105 --steps 5 [--json <file>]'

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      spans: { type: 'string' },
      ids: { type: 'string' },
      steps: { type: 'string', default: '5' },
      json: { type: 'string' },
    },
  })
  const [folder] = positionals
  if (folder === undefined || positionals.length > 1 || values.ids === undefined)
    throw new Error(USAGE)
  const files = await openCutFolder(folder)
  const { layers, vocabulary } = files.manifest
  const ids = values.ids.split(',').map(Number)
  if (ids.some((id) => !Number.isInteger(id) || id < 0 || id >= vocabulary))
    throw new Error(
      `--ids takes token ids from 0 to ${vocabulary - 1}, separated by commas.`,
    )
  const count = Number(values.steps)
  if (!Number.isInteger(count) || count < 0)
    throw new Error('--steps takes a number of tokens, 0 or more.')
  const spans = parseSpans(values.spans ?? `0-${layers}`, layers)
  const chain = await openChain(files, spans)
  const steps: { token: number; logits: number[] }[] = []
  for (let step = 0, next = ids; step <= count; step++) {
    const logits = await chain.step(next)
    const token = argmax(logits)
    steps.push({ token, logits: [...logits] })
    next = [token]
  }
  console.log(steps.map(({ token }) => token).join(','))
  if (values.json !== undefined)
    await writeFile(values.json, `${JSON.stringify({ steps })}\n`)
}

/** Graph optimisations stay off, as then every split computes the same bits. */
async function openChain(
  ...args: [Parameters<typeof Chain.open>[0], Parameters<typeof Chain.open>[1]]
): Promise<Chain> {
  const levels: Optimisation[] = ['disabled', 'basic']
  let failure: unknown
  for (const level of levels)
    try {
      return await Chain.open(...args, level)
    } catch (error) {
      failure ??= error
    }
  throw failure
}

main().catch(fail)
