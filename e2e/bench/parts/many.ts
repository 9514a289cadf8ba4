/** Many sequences, and long prompts: real rooms of two tabs, and simulated larger ones. */
import {
  simulateRing,
  type SimulatedRing,
  type SimulatedStage,
} from '../../../model-split/plan/simulate.ts'
import { seeded } from '../../../model-split/plan/testing/rooms.ts'
import { spansOf } from '../../../workers/ring/types.ts'
import type { Span } from '../../../model-split/span.ts'
import { CHUNK_ROWS } from '../../../workers/ring/starter.ts'
import { bareHop } from '../bare-hop.ts'
import type { Bench } from '../bench.ts'
import { prefillRate, timingOf } from '../engines.ts'
import type { HalfRun } from '../half/half.worker.ts'
import { loneStages } from '../lone-stages.ts'
import { compare, figure, median, TRUSTED, type Row } from '../rows.ts'
import { joinRoom, openRoom, type RoomOfTabs, type StepTimes } from './rooms.ts'
import { longPrompt } from './single.ts'

const TOKENS = 48
const LONE_MS = 3000
/** Sequences on one stage. */
const BATCHES = [2, 4, 8]
/** Rows in the caches of the lone stages: about the mean of the answers' contexts. */
const PAST = 64
const PROMPT = 'Write a long story about the sea.'
/** Of the default model. */
const LAYERS = 30
const SIMULATED = [2, 3, 4, 6, 8, 12, 16]
const SIMULATED_TOKENS = 1000
/** What the planner gives two equal tabs while several answers run: one has the head, too. */
const SEVERAL = [12, 18]

export async function aggregate(bench: Bench): Promise<Row[]> {
  const { browser, app, log } = bench
  const room = await joinRoom([browser, browser], app.origin, { deal: 'hand' })
  await room.deal(SEVERAL)
  const parts = await spansOfRoom(room)
  log(`  layers: ${parts.map(({ from, to }) => `${from}-${to}`).join(', ')}`)
  const alone = await loneStages(
    browser,
    parts.map(({ spans }) => spans),
  )
  const both: Together[] = []
  const one: number[] = []
  const lone: number[] = []
  const hops: number[] = []
  try {
    // The browser compiles what runs often while it runs.
    await together(room, -1)
    await alone.work(1, PAST, LONE_MS)
    for (let round = 0; round < bench.rounds; round++) {
      const single = await room.lapsOf(`${round}. ${PROMPT}`, TOKENS)
      const timing = timingOf(single.stats)
      one.push(lapRate(timing))
      hops.push((timing.decodeMs - single.stepsMs) / timing.laps / 2)
      const pair = await together(room, round)
      both.push(pair)
      const halves = await alone.work(1, PAST, LONE_MS)
      lone.push(mean(halves.map(({ steps, ms }) => (steps / ms) * 1000)))
      log(
        `  round ${round + 1}: 1 sequence ${figure(one.at(-1) ?? NaN)}, 2 sequences ` +
          `${figure(pair.rate)}, halves alone ${figure(lone.at(-1) ?? NaN)} tok/s; stages ` +
          `busy ${pair.busy.map((share) => `${(100 * share).toFixed(0)} %`).join(', ')}`,
      )
    }
  } finally {
    await room.close()
    await alone.close()
  }
  const rates = both.map(({ rate }) => rate)
  const halves = 'two tabs, each its layers for itself'
  const rows = [
    compare('aggregate.2tabs', 'tok/s', halves, rates, lone),
    compare('aggregate.2tabs.1sequence', 'tok/s', 'two sequences', one, rates),
    busyRow(both),
  ]
  const times = (device: number, span: number): Times => {
    const all = both.map(({ steps }) => steps[device]?.[span])
    const ms = median(all.map((step) => step?.meanMs ?? NaN))
    return { ms, spreadMs: median(all.map((step) => step?.spreadMs ?? NaN)) }
  }
  const [first, head, other] = [times(0, 0), times(0, 1), times(1, 0)]
  const hop: Hop = { ms: median(hops), linkMs: await bareHop(browser) }
  const layerMs = (first.ms + other.ms) / LAYERS
  // What interrupts a step comes as often as the step is long.
  const layerSpreadMs = Math.hypot(first.spreadMs, other.spreadMs) / Math.sqrt(LAYERS)
  const ring = ringOf([first, other], head, hop)
  const simulated = simulatedRate(ring, 2)
  const error = simulated / median(rates) - 1
  log(
    `  measured while both ran: layer ${figure(layerMs)} ±${figure(layerSpreadMs)} ms, head ` +
      `${figure(head.ms)} ±${figure(head.spreadMs)} ms, hop ${figure(hop.ms)} ms, ` +
      `${figure(hop.linkMs)} ms of it the channel's; simulated 2 tabs ${figure(simulated)} tok/s, ` +
      `${(100 * error).toFixed(1)} % off`,
  )
  if (Math.abs(error) > TRUSTED) {
    log('  skipped: aggregate.sim.* (the simulation is more than 10 % off)')
    return rows
  }
  const simulate = (devices: number): number => {
    const stages = evenly(LAYERS, head.ms / layerMs, devices).map((n) => ({
      ms: n * layerMs,
      spreadMs: Math.sqrt(n) * layerSpreadMs,
    }))
    return simulatedRate(ringOf(stages, head, hop), devices)
  }
  const single = simulate(1)
  for (const devices of SIMULATED) {
    const value = simulate(devices)
    const against = `one device, simulated; ${(100 * error).toFixed(1)} % off the real two tabs`
    const id = `aggregate.sim.${devices}`
    rows.push({ id, value, unit: 'tok/s', against, ratio: value / single, rounds: 1 })
  }
  return rows
}

/** The stage with most pauses. */
function busyRow(both: readonly Together[]): Row {
  const value = median(both.map(({ busy }) => Math.min(...busy)))
  const against = 'all of the time'
  const id = 'aggregate.2tabs.busy'
  return { id, value, unit: 'of the time', against, ratio: value, rounds: both.length }
}

/** Steps of several sequences that run as one, on a stage that has all layers. */
export async function batch({ browser, rounds, log }: Bench): Promise<Row[]> {
  const whole = { from: 0, to: LAYERS, embed: true, head: true }
  const stage = await loneStages(browser, [[whole]])
  const together = BATCHES.map((): number[] => [])
  const apart = BATCHES.map((): number[] => [])
  try {
    for (let round = 0; round < rounds; round++)
      for (const [i, sequences] of BATCHES.entries()) {
        const [run] = await stage.batch(sequences, PAST, LONE_MS)
        const rate = (ms = NaN) => (sequences / ms) * 1000
        const [ours, theirs] = [rate(run?.togetherMs), rate(run?.apartMs)]
        together[i]?.push(ours)
        apart[i]?.push(theirs)
        log(
          `  round ${round + 1}: ${sequences} sequences together ${figure(ours)}, one by ` +
            `one ${figure(theirs)} tok/s`,
        )
      }
  } finally {
    await stage.close()
  }
  return BATCHES.map((sequences, i) => {
    const id = `aggregate.batch.${sequences}sequences`
    return compare(id, 'tok/s', 'one by one', together[i] ?? [], apart[i] ?? [])
  })
}

/** Two answers while both run. */
interface Together {
  /** Tokens a second of both. */
  readonly rate: number
  /** By stage and span; a starter's second one is the head. */
  readonly steps: readonly (readonly StepTimes[])[]
  /** By stage: share of the time that it computes. */
  readonly busy: readonly number[]
}

async function together(room: RoomOfTabs, round: number): Promise<Together> {
  const prompts = [`${round}. ${PROMPT}`, `${round}! ${PROMPT}`]
  const { result, steps } = await room.stepsOf(() =>
    Promise.all(prompts.map((text, i) => room.ask(i, text, TOKENS))),
  )
  const timings = result.map(timingOf)
  const decodeMs = mean(timings.map((timing) => timing.decodeMs))
  return {
    rate: timings.reduce((sum, timing) => sum + lapRate(timing), 0),
    steps,
    busy: steps.map((spans) => sum(spans.map(({ sumMs }) => sumMs)) / decodeMs),
  }
}

/** Laps a second: tokens a second where none of them was guessed. */
function lapRate({ laps, decodeMs }: ReturnType<typeof timingOf>): number {
  return (laps / decodeMs) * 1000
}

const TABS = [1, 2]
/** Hidden states of a row, and of a chunk. */
const ROW_BYTES = 2350
const CHUNK_BYTES = CHUNK_ROWS * ROW_BYTES
const CHUNKS = 40

export async function stages(bench: Bench): Promise<Row[]> {
  const { browser, app, log } = bench
  const rooms: RoomOfTabs[] = []
  const rates: number[][] = TABS.map(() => [])
  const rowMs: number[] = []
  try {
    for (const tabs of TABS) rooms.push(await openRoom(browser, app.origin, tabs))
    for (const room of rooms) await room.ask(0, 'Hello', 3)
    let tokens = 0
    for (let round = 0; round < bench.rounds; round++)
      for (const [i, room] of rooms.entries()) {
        const timing = timingOf(await room.ask(0, longPrompt(round), 2))
        tokens = timing.promptTokens
        rates[i]?.push(prefillRate(timing))
        if (room === rooms[1]) rowMs.push(mean(await room.prefillMs()))
        log(
          `  round ${round + 1}: ${tokens} tokens, ${i + 1} tabs ${figure(prefillRate(timing))} tok/s`,
        )
      }
    const [one = [], two = []] = rates
    const rows = [
      compare('stages.1tab', 'tok/s', 'itself', one, one),
      compare('stages.2tabs', 'tok/s', 'one tab', two, one),
    ]
    const [, pair] = rooms
    if (!pair) return rows
    rows.push(await machine(bench, pair), ...(await turns(bench, pair)))
    const layerRowMs = median(rowMs)
    const latencyMs = await bareHop(browser)
    const chunkMs = (await bareHop(browser, CHUNK_BYTES, CHUNKS)) - latencyMs
    const simulate = (count: number): number => {
      const stageMs = (LAYERS / count) * layerRowMs
      const stage: SimulatedStage = { decodeMs: stageMs, prefillMs: stageMs }
      const link = { latencyMs, rowMs: Math.max(0, chunkMs) / CHUNK_ROWS }
      const ring = {
        stages: new Array<SimulatedStage>(count).fill(stage),
        links: new Array<typeof link>(count).fill(link),
        headMs: 0,
      }
      const { tokensAt } = simulateRing(
        ring,
        [{ promptTokens: tokens, newTokens: 1 }],
        CHUNK_ROWS,
      )
      return (tokens / (tokensAt[0]?.[0] ?? NaN)) * 1000
    }
    const error = simulate(2) / median(two) - 1
    log(
      `  measured with both at work: ${figure(1000 * layerRowMs)} µs a row and layer, a chunk's ` +
        `way ${figure(latencyMs + chunkMs)} ms; simulated 2 tabs ${figure(simulate(2))} tok/s, ${(100 * error).toFixed(1)} % off`,
    )
    if (Math.abs(error) > TRUSTED)
      log('  skipped: stages.sim.3 (the simulation is more than 10 % off)')
    else {
      const against = `one stage, simulated; ${(100 * error).toFixed(1)} % off the real two tabs`
      const value = simulate(3)
      const ratio = value / simulate(1)
      rows.push({ id: 'stages.sim.3', value, unit: 'tok/s', against, ratio, rounds: 1 })
    }
    return rows
  } finally {
    for (const room of rooms) await room.close()
  }
}

/**
 * What this computer gains where two tabs compute at once: each its part of the room's layers,
 * for itself. No room of two tabs can gain more.
 */
async function machine({ browser, log }: Bench, room: RoomOfTabs): Promise<Row> {
  const parts = await spansOfRoom(room)
  const alone = await loneStages(
    browser,
    parts.map(({ spans }) => spans),
  )
  try {
    const each = (runs: readonly HalfRun[]) => runs.map(({ steps, ms }) => ms / steps)
    const inTurn = each(await alone.workInTurn(CHUNK_ROWS, PAST, LONE_MS))
    const atOnce = each(await alone.work(CHUNK_ROWS, PAST, LONE_MS))
    log(
      `  a chunk: ${inTurn.map(figure).join(' + ')} ms in turn, ${atOnce.map(figure).join(', ')} ms at once`,
    )
    const all = inTurn.reduce((sum, ms) => sum + ms, 0)
    const value = (CHUNK_ROWS / Math.max(...atOnce)) * 1000
    const against = 'the same two stages, one after the other'
    const ratio = all / Math.max(...atOnce)
    const id = 'stages.machine'
    return { id, value, unit: 'tok/s', against, ratio, rounds: 1 }
  } finally {
    await alone.close()
  }
}

const TURNS = 5

/** Time to the first token in turn 5 of a chat, against turn 1 with its long prompt. */
async function turns({ log, rounds }: Bench, room: RoomOfTabs): Promise<Row[]> {
  const fifth: number[] = []
  const whole: number[] = []
  for (let round = 0; round < Math.min(2, rounds); round++)
    for (let turn = 1; turn <= TURNS; turn++) {
      const prompt = turn === 1 ? longPrompt(round + 50) : `And what else? ${turn}`
      const stats = await room.ask(0, prompt, 12, { goOn: turn > 1 })
      const { promptTokens, reusedTokens, prefillMs } = stats
      log(
        `  turn ${turn}: ${promptTokens} tokens, ${reusedTokens} of them reused, first ` +
          `token after ${figure(prefillMs)} ms`,
      )
      if (turn === TURNS) fifth.push(prefillMs)
      if (turn === 1) whole.push(prefillMs)
    }
  const value = median(fifth)
  const against = 'turn 1, a prompt of about 490 tokens'
  const ratio = median(whole) / value
  return [{ id: 'ttft.turn5', value, unit: 'ms', against, ratio, rounds: fifth.length }]
}

async function spansOfRoom(
  room: RoomOfTabs,
): Promise<{ from: number; to: number; spans: Span[] }[]> {
  const found = await room.spans()
  const stages = found.map(({ from, to }, i) => ({ device: String(i), from, to }))
  const plan = { epoch: { term: 0, number: 0 }, stages }
  const layers = Math.max(...stages.map(({ to }) => to))
  return stages.map(({ from, to }, i) => ({ from, to, spans: spansOf(plan, i, layers) }))
}

/** Of a step: mean and standard deviation. */
interface Times {
  readonly ms: number
  readonly spreadMs: number
}

interface Hop {
  readonly ms: number
  /** On the way; in the rest the stage's worker sends, samples and tells. */
  readonly linkMs: number
}

function ringOf(stages: readonly Times[], head: Times, hop: Hop): SimulatedRing {
  const besideMs = Math.max(0, hop.ms - hop.linkMs)
  return {
    stages: stages.map(({ ms, spreadMs }) => ({
      decodeMs: ms + besideMs,
      spreadMs,
      prefillMs: ms,
    })),
    links: stages.map(() => ({ latencyMs: Math.min(hop.ms, hop.linkMs), rowMs: 0 })),
    headMs: head.ms,
    headSpreadMs: head.spreadMs,
  }
}

/** Tokens a second of as many sequences. */
function simulatedRate(ring: SimulatedRing, sequences: number): number {
  const each = { promptTokens: 1, newTokens: SIMULATED_TOKENS }
  const all = new Array<typeof each>(sequences).fill(each)
  return simulateRing(ring, all, CHUNK_ROWS, seeded(1)).steadyTokensPerSecond
}

/** Layers per device so that the starter's head weighs in. */
function evenly(layers: number, head: number, devices: number): number[] {
  const counts = new Array<number>(devices).fill(0)
  for (let layer = 0; layer < layers; layer++) {
    const load = counts.map((n, i) => n + (i === 0 ? head : 0))
    const least = load.indexOf(Math.min(...load))
    counts[least] = (counts[least] ?? 0) + 1
  }
  return counts
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length
}
