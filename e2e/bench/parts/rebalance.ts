/** A tab that becomes slow in the middle of an answer: its layers move, against a room where they stay. */
import type { Page } from '@playwright/test'
import type { Bench } from '../bench.ts'
import { compare, figure, type Row } from '../rows.ts'
import type { RoomOfTabs } from './rooms.ts'
import {
  inRoom,
  openBrowsers,
  predicted,
  PROMPT,
  stagesOf,
  tellError,
  turn,
  WARM_UP,
  type Tab,
} from './unlike-tabs.ts'

const TOKENS = 160
const SLOW_AT = 32
const SLOW_TIMES = 4
/** Tokens from which a lap under one plan is read. */
const LAP_TOKENS = 24
/** People read for so long at most while neighbours load overlap layers, ms. */
const READING_MS = 35_000

/** One of three tabs becomes four times as slow in the middle of an answer. */
export async function rebalance(bench: Bench): Promise<Row[]> {
  const { log } = bench
  const browsers = await openBrowsers(3)
  const deals = ['planned', 'still'] as const
  const rates: Record<(typeof deals)[number], number[]> = { planned: [], still: [] }
  const errors: number[] = []
  try {
    for (let round = 0; round < bench.rounds; round++) {
      const answers: Partial<Record<(typeof deals)[number], Slowed>> = {}
      for (const deal of turn(deals, round + bench.first))
        await inRoom(bench, browsers, { deal }, async (room) => {
          await room.ask(0, `${round}! ${PROMPT}`, WARM_UP)
          if (deal === 'planned' && !(await overlapsHeld(room)))
            log('  neighbours do not hold all layers yet')
          const answer = await answerSlowed(room, `${round}. ${PROMPT}`, browsers)
          const { rate, before, slowdown, movedMs, error, note } = answer
          answers[deal] = answer
          rates[deal].push(rate)
          if (movedMs !== null) errors.push(error)
          log(
            `  round ${round + 1}, ${deal}: ${figure(rate)} tok/s after token ${SLOW_AT}, ` +
              `${figure(before)} before; slowed ${figure(slowdown)} times in its worker; ` +
              (movedMs === null
                ? 'nothing moved'
                : `moved after ${figure(movedMs / 1000)} s: ${note}`),
          )
          log(`    ${speeds(answer.times)}`)
        })
      if (answers.planned?.tokens !== answers.still?.tokens)
        throw new Error('the answers of the two rooms differ')
    }
  } finally {
    for (const { browser } of browsers) await browser.close()
  }
  tellError(log, 'the lap after the move, from the figures before it', errors)
  const against = 'the same room whose layers stay'
  return [compare('rebalance.tabs', 'tok/s', against, rates.planned, rates.still)]
}

interface Slowed {
  /** Tokens per second from `SLOW_AT` on, and before. */
  readonly rate: number
  readonly before: number
  /** As its worker measured itself. */
  readonly slowdown: number
  /** From the slowdown to the first other plan; null: nothing moved. */
  readonly movedMs: number | null
  readonly note: string
  /** Of the last laps against what the figures before the slowdown predict for them. */
  readonly error: number
  /** Of all tokens from the first one on, ms. */
  readonly times: readonly number[]
  readonly tokens: string
}

/** An answer during which the browser of the last stage is slowed. */
async function answerSlowed(
  room: RoomOfTabs,
  prompt: string,
  browsers: readonly Tab[],
): Promise<Slowed> {
  const index = (await room.spans()).at(-1)?.device ?? -1
  const { page } = room.devices[0]!
  await watchTokens(page)
  const answer = room.ask(0, prompt, TOKENS)
  await page.waitForFunction(
    (count) => (window as unknown as Watched).tokenTimes.length >= count,
    SLOW_AT,
    { polling: 10, timeout: 60_000 },
  )
  const first = await stagesOf(room)
  await browsers[index]?.browser.slow(SLOW_TIMES)
  const slowedAt = Date.now()
  await answer
  const seen = await page.evaluate(() => ({
    times: (window as unknown as Watched).tokenTimes,
    tokens: window.choir?.lastAnswer?.tokenIds.join(' ') ?? '',
    notes: window.choir?.view.notes ?? [],
  }))
  const during = await msPerLayerOf(room, index)
  const { times, tokens, notes } = seen
  const between = (from: number, to: number) => (times[to] ?? NaN) - (times[from] ?? NaN)
  const lapOf = (to: number) => between(to - LAP_TOKENS, to) / LAP_TOKENS
  const move = notes.find(({ at }) => at >= slowedAt)
  const last = await stagesOf(room)
  const end = times.length - 1
  const known = { lapMs: lapOf(SLOW_AT - 1), stages: first }
  return {
    rate: (1000 * (times.length - SLOW_AT)) / between(SLOW_AT - 1, end),
    before: 1000 / known.lapMs,
    slowdown: during / (first.find(({ device }) => device === index)?.msPerLayer ?? NaN),
    movedMs: move ? move.at - slowedAt : null,
    note: notes.at(-1)?.text ?? '',
    error: predicted(known, last) / lapOf(end) - 1,
    times,
    tokens,
  }
}

interface Watched {
  readonly tokenTimes: readonly number[]
}

/** From now on the page notes when its next answer has how many tokens. */
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

function speeds(times: readonly number[]): string {
  const step = 16
  const parts: string[] = []
  for (let i = step; i < times.length; i += step)
    parts.push(figure((step / ((times[i] ?? NaN) - (times[i - step] ?? NaN))) * 1000))
  return `tok/s by ${step} tokens: ${parts.join(' ')}`
}

async function msPerLayerOf(room: RoomOfTabs, index: number): Promise<number> {
  return room.devices[index]!.page.evaluate(() => window.choir?.stats?.msPerLayer ?? NaN)
}

/** Until each layer is held by a neighbour as well, as memory allows here. */
async function overlapsHeld({ devices }: RoomOfTabs): Promise<boolean> {
  return devices[0]!.page
    .waitForFunction(
      () => {
        const view = window.choir?.view
        const held = view?.devices.reduce((sum, { holds }) => sum + holds.length, 0)
        return held === view?.model?.layers
      },
      undefined,
      { timeout: READING_MS },
    )
    .then(() => true)
    .catch(() => false)
}
