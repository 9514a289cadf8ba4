/** Tabs of different speed: dealt by the planner, against an equal split. */
import type { Bench } from '../bench.ts'
import { compare, figure, type Row } from '../rows.ts'
import type { RoomOfTabs } from './rooms.ts'
import {
  inRoom,
  modelled,
  openBrowsers,
  predicted,
  PROMPT,
  stagesOf,
  tellError,
  turn,
  WARM_UP,
  type Lap,
} from './unlike-tabs.ts'

/** Speeds of the paper's phones. */
const TIMES = [1, 2, 4]
/** Half of the default model's weights as int8, and their caches: more no tab lends. */
const HALF_BYTES = 129_000_000
const PLAN_TOKENS = 64
/** Answers after which layers have come to rest at the latest. */
const MOST_ANSWERS = 6

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
  const modelErrors: number[] = []
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
          modelErrors.push((await modelled(room)) / lap.lapMs - 1)
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
  tellError(log, "the plan's lap, from the figures of the equal room", errors)
  tellError(log, 'laps of both rooms, from the figures of the same room', modelErrors)
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

async function lapOf(room: RoomOfTabs, prompt: string): Promise<Lap> {
  const stats = await room.ask(0, prompt, PLAN_TOKENS)
  return { lapMs: stats.decodeMs / (stats.newTokens - 1), stages: await stagesOf(room) }
}
