/** How long an answer pauses when a layer moves while it is being generated. */
import type { Bench } from '../bench.ts'
import { figure, median, type Row } from '../rows.ts'
import { joinRoom } from './rooms.ts'
import { longPrompt } from './single.ts'

/** Tokens of context at the cut-over, and words of a prompt that come to about so many. */
const CONTEXTS = [
  { id: 'migrate.pause.ms', words: 460 },
  { id: 'migrate.pause.4096.ms', words: 3650 },
] as const
const TOKENS = 120
/** Beyond one lap: what counts as not being noticed. */
const GOAL_MS = 50
/** The room thinks once a second; loading a layer takes about as long. */
const FIRST_TOKENS = 4
const SPLITS = [
  [15, 15],
  [14, 16],
] as const

export async function migrate(bench: Bench): Promise<Row[]> {
  const { log, browser, app } = bench
  const room = await joinRoom([browser, browser], app.origin, { deal: 'hand' })
  const rows: Row[] = []
  try {
    await room.deal(SPLITS[0])
    let moves = 0
    for (const { id, words } of CONTEXTS) {
      const pauses: number[] = []
      for (let round = 0; round < bench.rounds; round++) {
        const split = SPLITS[++moves % 2] ?? SPLITS[0]
        const answer = room.ask(0, longPrompt(round + 80, words), TOKENS)
        await room.devices[0]!.page.waitForFunction(
          (least) => {
            const last = window.choir?.view.messages.at(-1)
            const ids = window.choir?.lastAnswer?.tokenIds.length ?? 0
            return last?.state === 'streaming' && ids >= least
          },
          FIRST_TOKENS,
          { timeout: 300_000 },
        )
        await room.tell(split)
        const { pauseMs, decodeMs, laps, promptTokens, newTokens } = await answer
        if (pauseMs === undefined) {
          log(`  ${id}: the answer of ${newTokens} tokens ended before the layer moved`)
          await room.deal(split)
          continue
        }
        const lap = (decodeMs - pauseMs) / Math.max(1, laps - 1)
        log(
          `  ${id}: ${promptTokens} tokens of prompt, lap ${figure(lap)} ms, ` +
            `pause ${figure(pauseMs)} ms`,
        )
        pauses.push(Math.max(0, pauseMs - lap))
      }
      if (pauses.length === 0) continue
      const value = median(pauses)
      const against = `${GOAL_MS} ms beyond a lap, the goal`
      const ratio = GOAL_MS / Math.max(1, value)
      rows.push({ id, value, unit: 'ms', against, ratio, rounds: pauses.length })
    }
    return rows
  } finally {
    await room.close()
  }
}
