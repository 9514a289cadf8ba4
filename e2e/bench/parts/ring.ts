/** What the ring costs: the same layers in 1 to 4 tabs, and what a hop adds to a lap. */
import type { Bench } from '../bench.ts'
import { decodeRate, timingOf, type Network } from '../engines.ts'
import { compare, figure, median, type Row } from '../rows.ts'
import { bareHop } from '../bare-hop.ts'
import { openRoom, type RoomOfTabs } from './rooms.ts'

const TABS = [1, 2, 3, 4]
const TOKENS = 32
const PROMPT = 'Write a long story about the sea.'

export async function ring(bench: Bench): Promise<Row[]> {
  const rooms: RoomOfTabs[] = []
  const rates: number[][] = TABS.map(() => [])
  try {
    for (const tabs of TABS) {
      bench.log(`  opening a room of ${tabs}`)
      rooms.push(await openRoom(bench.browser, bench.app.origin, tabs))
    }
    for (const room of rooms) await room.ask(0, 'Hello', 3)
    for (let round = 0; round < bench.rounds; round++)
      for (const [i, room] of rooms.entries()) {
        const rate = decodeRate(
          timingOf(await room.ask(0, `${round}. ${PROMPT}`, TOKENS)),
        )
        rates[i]?.push(rate)
        bench.log(`  round ${round + 1}: ${i + 1} tabs ${figure(rate)} tok/s`)
      }
    const rows = TABS.map((tabs, i) =>
      compare(`ring.tabs.${tabs}`, 'tok/s', 'one tab', rates[i] ?? [], rates[0] ?? []),
    )
    const sizes = await Promise.all(rooms.map((room) => room.spans()))
    const [one = NaN] = (sizes[0] ?? []).map(({ bytes }) => bytes)
    for (const [i, stages] of sizes.entries()) {
      const share = stages.map(
        ({ from, to, bytes }) => `${to - from} layers ${figure(bytes / 1e6)} MB`,
      )
      bench.log(`  ${i + 1} tabs: ${share.join(', ')}`)
      // The mean would fall as 1/N whatever the split is worth.
      const value = Math.max(...stages.map(({ bytes }) => bytes)) / 1e6
      const against =
        'bytes of one tab with all layers, of the largest tab; less is better'
      const id = `memory.tabs.${i + 1}`
      rows.push({ id, value, unit: 'MB', against, ratio: (value * 1e6) / one, rounds: 1 })
    }
    return rows
  } finally {
    for (const room of rooms) await room.close()
  }
}

const HOPS: readonly { id: string; tabs: number; network?: Network }[] = [
  { id: 'hop.ms', tabs: 2 },
  { id: 'hop.ms.3tabs', tabs: 3 },
  { id: 'hop.ms.rtt10', tabs: 2, network: { rttMs: 10, loss: 0 } },
  { id: 'hop.ms.rtt40', tabs: 2, network: { rttMs: 40, loss: 0 } },
  { id: 'hop.ms.rtt40.loss1', tabs: 2, network: { rttMs: 40, loss: 1 } },
]
/** What the fastest rival says that a further tab costs it at best, ms. */
const RIVAL_MS = 3.5

export async function hop(bench: Bench): Promise<Row[]> {
  const bare = await bareHop(bench.browser)
  bench.log(`  hop.bare.ms: ${figure(bare)} ms, nothing but the channel`)
  const least = "a data channel between two tabs' workers, with nothing around it"
  const rows: Row[] = [
    { id: 'hop.bare.ms', value: bare, unit: 'ms', against: least, ratio: 1, rounds: 1 },
  ]
  for (const { id, tabs, network } of HOPS) {
    const room = await openRoom(bench.browser, bench.app.origin, tabs, network)
    try {
      await room.ask(0, 'Hello', 3)
      const hops: number[] = []
      for (let round = 0; round < bench.rounds; round++) {
        const { stats, stepsMs } = await room.lapsOf(`${round}. ${PROMPT}`, 2 * TOKENS)
        const { laps, decodeMs } = timingOf(stats)
        const ms = (decodeMs - stepsMs) / laps / tabs
        if (Number.isFinite(ms)) hops.push(ms)
        bench.log(
          `  ${id}, round ${round + 1}: lap ${figure(decodeMs / laps)} ms, ` +
            `computed ${figure(stepsMs / laps)} ms, a hop ${figure(ms)} ms`,
        )
      }
      const value = median(hops)
      const against = network
        ? 'half a round trip of the link alone'
        : "the best rival's published 3.5 ms, not measured here"
      const ratio = (network ? network.rttMs / 2 : RIVAL_MS) / value
      rows.push({ id, value, unit: 'ms', against, ratio, rounds: hops.length })
    } finally {
      await room.close()
    }
  }
  return rows
}
