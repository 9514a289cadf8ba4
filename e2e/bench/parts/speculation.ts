/** Drafts: laps per token and tokens/s with and without, for three kinds of questions. */
import type { Page } from '@playwright/test'
import type { Bench } from '../bench.ts'
import { timingOf } from '../engines.ts'
import { compare, figure, median, type Row } from '../rows.ts'
import { openRoom } from './rooms.ts'

const TOKENS = 72

const CODE = `function totals(orders) {
  const result = []
  for (const order of orders) {
    let total = 0
    for (const item of order.items) {
      total += item.price * item.count
    }
    result.push({ id: order.id, total: total })
  }
  return result
}`

const TEXT =
  'The harbour of the old town was built in 1672 by fishermen who wanted a shelter from ' +
  'the north wind. In 1834 a fire destroyed most of the wooden houses, and the town council ' +
  'decided to rebuild them in stone. The railway came in 1871 and brought visitors from the ' +
  'capital, who stayed in the hotels along the harbour. After the war the fishing industry ' +
  'declined, and today most people in the old town work in tourism. The harbour is still ' +
  'used by eleven fishing boats, and the fish market is open every morning except Sunday.'

const PROMPTS: Readonly<Record<string, string>> = {
  chat: 'What should I see in Rome in three days, and why?',
  summary: `Summarize this text in three sentences:\n\n${TEXT}`,
  code: `Rename the variable "total" to "sum" and give me the whole function:\n\n${CODE}`,
}

export async function speculation(bench: Bench): Promise<Row[]> {
  const room = await openRoom(bench.browser, bench.app.origin, 2)
  const [device] = room.devices
  if (!device) return []
  try {
    await room.ask(0, 'Hello', 3)
    const rows: Row[] = []
    for (const [name, prompt] of Object.entries(PROMPTS)) {
      const rates: Record<'on' | 'off', number[]> = { on: [], off: [] }
      const lapsPerToken: number[] = []
      const answers = new Set<string>()
      for (let round = 0; round < bench.rounds; round++)
        for (const kind of ['off', 'on'] as const) {
          const speculate = kind === 'on'
          const stats = await room.ask(0, prompt, TOKENS, { speculate })
          const { decoded, laps, decodeMs } = timingOf(stats)
          rates[kind].push((decoded / decodeMs) * 1000)
          if (speculate) lapsPerToken.push(laps / decoded)
          answers.add(await tokensOf(device.page))
          bench.log(
            `  ${name}, round ${round + 1}, drafts ${kind}: ${laps} laps for ${decoded} ` +
              `tokens, ${figure(rates[kind].at(-1) ?? NaN)} tok/s`,
          )
        }
      if (answers.size > 1) bench.log(`  ${name}: the answers differ`)
      const against = answers.size > 1 ? 'another answer without' : 'the same without'
      rows.push(compare(`speculation.${name}`, 'tok/s', against, rates.on, rates.off))
      const value = median(lapsPerToken)
      rows.push({
        id: `speculation.${name}.laps`,
        ...{ value, unit: 'laps a token', against: 'one lap a token', ratio: 1 / value },
        rounds: lapsPerToken.length,
      })
    }
    return rows
  } finally {
    await room.close()
  }
}

function tokensOf(page: Page): Promise<string> {
  return page.evaluate(() => (window.choir?.lastAnswer?.tokenIds ?? []).join())
}
