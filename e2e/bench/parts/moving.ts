/** Rooms of three browsers of different speed: planned against equal, moved against still. */
import type { BrowserContext, Page } from '@playwright/test'
import type { Bench } from '../bench.ts'
import { compare, figure, median, type Row } from '../rows.ts'
import { newContext } from '../engines.ts'
import { openSlowable, type SlowableBrowser } from '../slowed.ts'
import { joinRoom, type RoomChoices, type RoomOfTabs } from './rooms.ts'

const PROMPT = 'Write a long story about the sea and a ship.'
const TOKENS = 160
const SLOW_AT = 32
const SLOW_TIMES = 4
const WARM_UP = 32
/** Tokens from which a lap under one plan is read. */
const LAP_TOKENS = 24
/** People read for so long at most while neighbours load overlap layers, ms. */
const READING_MS = 35_000
/** Speeds of the paper's phones. */
const TIMES = [1, 2, 4]
/** Half of the default model's weights as int8, and their caches: more no tab lends. */
const HALF_BYTES = 129_000_000
const PLAN_TOKENS = 64
/** Answers after which layers have come to rest at the latest. */
const MOST_ANSWERS = 6
const TRUSTED = 0.1

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
  tellError(log, 'the lap after the move', errors)
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

/**
 * Three browsers with speeds 1 : 0.5 : 0.25, none of which may hold more than half.
 * @param deal what is compared with an equal split: app/room/other-deals.ts.
 */
export async function planned(bench: Bench, id: string, deal: string): Promise<Row[]> {
  const { log } = bench
  const browsers = await openBrowsers(TIMES.length)
  const deals = ['equal', deal] as const
  const rates = new Map<string, number[]>(deals.map((name) => [name, []]))
  const errors: number[] = []
  try {
    for (let round = 0; round < bench.rounds; round++) {
      // Who comes first starts the equal ring: each kind in turn.
      const order = TIMES.map((_, i) => (i + round + bench.first) % TIMES.length)
      const ordered = order.map((i) => browsers[i]!)
      const laps = new Map<string, Lap>()
      for (const name of turn(deals, round + bench.first))
        await inRoom(bench, ordered, { deal: name, memory: HALF_BYTES }, async (room) => {
          for (const [i, { browser }] of browsers.entries())
            await browser.slow(TIMES[i] ?? 1)
          await settle(room, `${round}! ${PROMPT}`)
          const lap = await lapOf(room, `${round}. ${PROMPT}`)
          laps.set(name, lap)
          rates.get(name)?.push(1000 / lap.lapMs)
          const stages = lap.stages.map(({ device, layers, msPerLayer }) => {
            const times = TIMES[order[device] ?? 0] ?? 1
            return `${layers} x ${figure(msPerLayer)} ms at 1/${times} of the speed`
          })
          log(
            `  round ${round + 1}, ${name}: ${figure(1000 / lap.lapMs)} tok/s; ${stages.join(', ')}`,
          )
        })
      const [equal, other] = [laps.get('equal'), laps.get(deal)]
      if (equal && other) errors.push(predicted(equal, other.stages) / other.lapMs - 1)
    }
  } finally {
    for (const { browser } of browsers) await browser.close()
  }
  tellError(log, "the plan's lap", errors)
  const against = 'an equal split, in order of arrival'
  const [theirs = [], ours = []] = rates.values()
  return [compare(id, 'tok/s', against, ours, theirs)]
}

/** Answers until the room has learned the speeds and layers have come to rest. */
async function settle(room: RoomOfTabs, prompt: string): Promise<void> {
  const notes = () =>
    room.devices[0]!.page.evaluate(() => window.choir?.view.notes.at(-1)?.at ?? 0)
  for (let i = 0; i < MOST_ANSWERS; i++) {
    const before = await notes()
    await room.ask(0, `${i}${prompt}`, WARM_UP)
    if (i > 0 && (await notes()) === before) return
  }
}

interface Lap {
  readonly lapMs: number
  readonly stages: readonly StageFigures[]
}

interface StageFigures {
  readonly device: number
  readonly layers: number
  readonly msPerLayer: number
  /** Embedding and head, on the starter. */
  readonly msStarter: number
}

async function lapOf(room: RoomOfTabs, prompt: string): Promise<Lap> {
  const stats = await room.ask(0, prompt, PLAN_TOKENS)
  return { lapMs: stats.decodeMs / (stats.newTokens - 1), stages: await stagesOf(room) }
}

async function stagesOf(room: RoomOfTabs): Promise<StageFigures[]> {
  const spans = await room.spans()
  return Promise.all(
    spans.map(async ({ device, from, to }) => {
      const found = await room.devices[device]?.page.evaluate(() => window.choir?.stats)
      return {
        device,
        layers: to - from,
        msPerLayer: found?.msPerLayer ?? NaN,
        msStarter: found?.msStarter ?? 0,
      }
    }),
  )
}

async function msPerLayerOf(room: RoomOfTabs, index: number): Promise<number> {
  return room.devices[index]!.page.evaluate(() => window.choir?.stats?.msPerLayer ?? NaN)
}

/**
 * The lap of other stages by the planner's cost model, from what was measured before: each
 * device's time for a layer, and a hop. A new starter counts as it measured itself.
 */
function predicted(known: Lap, stages: readonly StageFigures[]): number {
  const time = ({ layers, msPerLayer, msStarter }: StageFigures) =>
    layers * msPerLayer + msStarter
  const sum = (some: readonly number[]) => some.reduce((a, b) => a + b, 0)
  const hopMs = (known.lapMs - sum(known.stages.map(time))) / known.stages.length
  const then = stages.map((stage) => {
    const before = known.stages.find(({ device }) => device === stage.device)
    const msStarter = before?.msStarter ? before.msStarter : stage.msStarter
    return {
      ...stage,
      msPerLayer: before?.msPerLayer ?? stage.msPerLayer,
      msStarter: stage.msStarter > 0 ? msStarter : 0,
    }
  })
  return sum(then.map(time)) + hopMs * stages.length
}

function tellError(log: Bench['log'], what: string, errors: readonly number[]): void {
  const error = median(errors)
  log(
    `  ${what}, predicted from the figures before: ${(100 * error).toFixed(1)} % off` +
      (Math.abs(error) > TRUSTED
        ? '; more than 10 %: the simulation does not count'
        : ''),
  )
}

/** A browser and the storage of its tabs. */
interface Tab {
  readonly browser: SlowableBrowser
  readonly context: BrowserContext
}

async function openBrowsers(count: number): Promise<Tab[]> {
  const browsers: Tab[] = []
  for (let i = 0; i < count; i++) {
    const browser = await openSlowable()
    browsers.push({ browser, context: await newContext(browser.browser) })
  }
  return browsers
}

/** Opens a room of these browsers at full speed, and closes it afterwards. */
async function inRoom(
  { app }: Bench,
  browsers: readonly Tab[],
  choices: RoomChoices,
  use: (room: RoomOfTabs) => Promise<void>,
): Promise<void> {
  const plain = browsers.map(({ browser }) => browser.browser)
  const contexts = browsers.map(({ context }) => context)
  const room = await joinRoom(plain, app.origin, { ...choices, contexts })
  try {
    await use(room)
  } finally {
    for (const { browser } of browsers) await browser.slow(1)
    await room.close()
  }
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

/** Who is measured first alternates. */
function turn<T>(both: readonly T[], round: number): readonly T[] {
  return round % 2 === 0 ? both : both.toReversed()
}
