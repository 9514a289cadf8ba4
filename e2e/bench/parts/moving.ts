/** Rooms of three browsers of different speed: planned against equal, moved against still. */
import type { Page } from '@playwright/test'
import type { Bench } from '../bench.ts'
import { compare, figure, median, type Row } from '../rows.ts'
import { openSlowable, type SlowableBrowser } from '../slowed.ts'
import { joinRoom, type RoomOfTabs } from './rooms.ts'

const PROMPT = 'Write a long story about the sea and a ship.'
const TOKENS = 160
const SLOW_AT = 32
const SLOW_TIMES = 4
const WARM_UP = 48
/** Speeds of the paper's phones. */
const TIMES = [1, 2, 4]
const PLAN_TOKENS = 64
const TRUSTED = 0.1

/** One of three tabs becomes four times as slow in the middle of an answer. */
export async function rebalance(bench: Bench): Promise<Row[]> {
  const { log } = bench
  const browsers = await openBrowsers(3)
  const rates: Record<'planned' | 'still', number[]> = { planned: [], still: [] }
  try {
    for (let round = 0; round < bench.rounds; round++)
      for (const deal of ['planned', 'still'] as const) {
        const room = await joinRoom(
          browsers.map(({ browser }) => browser),
          bench.app.origin,
          { deal },
        )
        try {
          await room.ask(0, `${round}! ${PROMPT}`, WARM_UP)
          const last = (await room.spans()).at(-1)
          const index = last?.device ?? -1
          const slowed = browsers[index]
          if (!slowed) throw new Error('The room has no last stage.')
          const before = await speedOf(room, index)
          const { times, note } = await answerSlowed(room, `${round}. ${PROMPT}`, slowed)
          const during = await speedOf(room, index)
          const ms = (times.at(-1) ?? 0) - (times[SLOW_AT - 1] ?? 0)
          const rate = ((times.length - SLOW_AT) / ms) * 1000
          rates[deal].push(rate)
          log(
            `  round ${round + 1}, ${deal}: ${times.length} tokens, ${figure(rate)} tok/s after ` +
              `token ${SLOW_AT}, ${figure((SLOW_AT / (times[SLOW_AT - 1] ?? NaN)) * 1000)} before; ` +
              `slowed ${figure(during / before)} times in its worker. ${note}`,
          )
          log(`    ${thirds(times)}`)
        } finally {
          for (const browser of browsers) await browser.slow(1)
          await room.close()
        }
      }
  } finally {
    for (const browser of browsers) await browser.close()
  }
  const against = 'the same room whose layers stay'
  return [compare('rebalance.tabs', 'tok/s', against, rates.planned, rates.still)]
}

/** Times of all tokens from the first one on, ms; the browser is slowed at `SLOW_AT`. */
async function answerSlowed(
  room: RoomOfTabs,
  prompt: string,
  slowed: SlowableBrowser,
): Promise<{ times: number[]; note: string }> {
  const page = room.devices[0]!.page
  const answer = room.ask(0, prompt, TOKENS)
  await watchTokens(page)
  await page.waitForFunction(
    (count) => (window.choir?.lastAnswer?.tokenIds.length ?? 0) >= count,
    SLOW_AT,
    { polling: 10, timeout: 60_000 },
  )
  await slowed.slow(SLOW_TIMES)
  await answer
  return page.evaluate(() => ({
    times: (window as unknown as { tokenTimes: number[] }).tokenTimes,
    note: window.choir?.view.notes.at(-1)?.text ?? '',
  }))
}

/** From now on the page notes when the newest answer has how many tokens. */
async function watchTokens(page: Page): Promise<void> {
  await page.evaluate(() => {
    const times: number[] = []
    Object.assign(window, { tokenTimes: times })
    const began = performance.now()
    const before = window.choir?.lastAnswer
    const look = (): void => {
      const answer = window.choir?.lastAnswer
      if (answer && answer !== before)
        while (times.length < answer.tokenIds.length)
          times.push(performance.now() - began)
    }
    window.choir?.addEventListener('change', look)
  })
}

function thirds(times: readonly number[]): string {
  const step = 16
  const parts: string[] = []
  for (let i = step; i < times.length; i += step)
    parts.push(figure((step / ((times[i] ?? NaN) - (times[i - step] ?? NaN))) * 1000))
  return `tok/s by ${step} tokens: ${parts.join(' ')}`
}

async function speedOf(room: RoomOfTabs, index: number): Promise<number> {
  return room.devices[index]!.page.evaluate(() => window.choir?.stats?.msPerLayer ?? NaN)
}

/** Three browsers with speeds 1 : 0.5 : 0.25, none of which may hold more than half. */
export async function planned(bench: Bench): Promise<Row[]> {
  const { log } = bench
  const browsers = await openBrowsers(TIMES.length)
  const rates: Record<'planned' | 'equal', number[]> = { planned: [], equal: [] }
  const errors: number[] = []
  try {
    for (let round = 0; round < bench.rounds; round++) {
      // Who comes first starts the equal ring: each kind in turn.
      const order = TIMES.map((_, i) => (i + round) % TIMES.length)
      const measured: Partial<Record<'planned' | 'equal', Lap>> = {}
      for (const deal of ['equal', 'planned'] as const) {
        const room = await joinRoom(
          order.map((i) => browsers[i]!.browser),
          bench.app.origin,
          { deal, memory: HALF_BYTES },
        )
        try {
          for (const [i, browser] of browsers.entries()) await browser.slow(TIMES[i] ?? 1)
          // Long enough for the planner to learn the speeds and to move.
          for (let i = 0; i < 3; i++)
            await room.ask(0, `${round}${i}! ${PROMPT}`, WARM_UP)
          const lap = await lapOf(room, `${round}. ${PROMPT}`)
          measured[deal] = lap
          rates[deal].push(1000 / lap.lapMs)
          log(
            `  round ${round + 1}, ${deal}: ${figure(1000 / lap.lapMs)} tok/s; ` +
              lap.stages
                .map(
                  ({ name, layers, msPerLayer }) =>
                    `${name} ${layers} x ${figure(msPerLayer)} ms`,
                )
                .join(', '),
          )
        } finally {
          for (const browser of browsers) await browser.slow(1)
          await room.close()
        }
      }
      if (measured.planned && measured.equal)
        errors.push(
          simulated(measured.equal, measured.planned) / measured.planned.lapMs - 1,
        )
    }
  } finally {
    for (const browser of browsers) await browser.close()
  }
  const error = median(errors)
  log(
    `  the plan's lap simulated from the speeds of the equal room: ${(100 * error).toFixed(1)} % off` +
      (Math.abs(error) > TRUSTED ? '; more than 10 %: plan.sim does not count' : ''),
  )
  const against = 'an equal split, in order of arrival'
  return [compare('plan.tabs', 'tok/s', against, rates.planned, rates.equal)]
}

/** About half of the default model as int8, with caches: more than that no tab lends. */
const HALF_BYTES = 125_000_000

interface Lap {
  readonly lapMs: number
  readonly stages: readonly {
    readonly name: string
    readonly layers: number
    readonly msPerLayer: number
    /** Embedding and head, on the starter. */
    readonly msStarter: number
  }[]
}

async function lapOf(room: RoomOfTabs, prompt: string): Promise<Lap> {
  const stats = await room.ask(0, prompt, PLAN_TOKENS)
  const lapMs = stats.decodeMs / (stats.newTokens - 1)
  const spans = await room.spans()
  const stages = await Promise.all(
    spans.map(async ({ device, from, to }) => {
      const found = await room.devices[device]?.page.evaluate(() => window.choir?.stats)
      return {
        name: `tab ${device + 1}`,
        layers: to - from,
        msPerLayer: found?.msPerLayer ?? NaN,
        msStarter: found?.msStarter ?? 0,
      }
    }),
  )
  return { lapMs, stages }
}

/** The lap of `other` from the speeds in its own room and the hops of `known`. */
function simulated(known: Lap, other: Lap): number {
  const computing = ({ stages }: Lap) =>
    stages.reduce(
      (sum, { layers, msPerLayer, msStarter }) => sum + layers * msPerLayer + msStarter,
      0,
    )
  const hopMs = (known.lapMs - computing(known)) / known.stages.length
  return computing(other) + hopMs * other.stages.length
}

async function openBrowsers(count: number): Promise<SlowableBrowser[]> {
  const browsers: SlowableBrowser[] = []
  for (let i = 0; i < count; i++) browsers.push(await openSlowable())
  return browsers
}
