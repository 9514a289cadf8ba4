/**
 * A ring in simulated time: stages and links serve frames first come, first served. Driven by
 * measured times alone; the same input gives the same figures. Steps may be drawn around their
 * mean: in a full ring each stage waits for the slower ones, which means alone do not show.
 */
import { batchSize, type StepTimes } from './batch-size.ts'
import type { ModelCosts } from './costs.ts'
import { evaluatePlan } from './evaluate.ts'
import type { PlanDevice, PlanLinks, PlanOptions, Stage } from './types.ts'

export interface SimulatedStage {
  /** One token through the stage's layers; on the starter with the embedding. */
  readonly decodeMs: number
  /** Standard deviation of that, where steps are drawn. */
  readonly spreadMs?: number
  /** The same for one row of a prompt. */
  readonly prefillMs: number
}

/** From a stage to the next; the last one leads to the starter. */
export interface SimulatedLink {
  readonly latencyMs: number
  /** Time that one row keeps the link busy. */
  readonly rowMs: number
}

export interface SimulatedRing {
  /** Starter first. */
  readonly stages: readonly SimulatedStage[]
  readonly links: readonly SimulatedLink[]
  /** Head and sampling, on the starter. */
  readonly headMs: number
  readonly headSpreadMs?: number
  /**
   * Share of a token's time that a further one in its batch takes; absent: tokens of several
   * sequences do not run as one.
   */
  readonly batchShare?: number
}

export interface SimulatedSequence {
  readonly startMs?: number
  readonly promptTokens: number
  readonly newTokens: number
}

export interface Simulation {
  /** Per sequence, the time of each of its tokens. */
  readonly tokensAt: readonly (readonly number[])[]
  /** All tokens over the time until the last one. */
  readonly tokensPerSecond: number
  /**
   * The same while all sequences were decoding: from the last first token to the first last
   * one. 0 if there was no such time.
   */
  readonly steadyTokensPerSecond: number
  /** Share of the time that each stage worked. */
  readonly busy: readonly number[]
}

/** One frame: rows of one sequence. */
interface Frame {
  readonly sequence: number
  readonly rows: number
  readonly prefill: boolean
  /** After the last rows of a prompt, and after every decoded row, a token is sampled. */
  readonly samples: boolean
  /** Back at the starter. */
  readonly closing: boolean
}

/**
 * Runs the sequences to their end. Prompts enter in chunks of at most `chunkRows` rows; other
 * frames may pass between two chunks. A frame that comes back is sampled and goes on its next
 * lap in one go.
 * @param random numbers in [0, 1) by which decoding steps are drawn; absent: all take their mean.
 */
export function simulateRing(
  ring: SimulatedRing,
  sequences: readonly SimulatedSequence[],
  chunkRows = 32,
  random?: () => number,
): Simulation {
  const { stages, links, headMs, headSpreadMs, batchShare } = ring
  const drawn = (mean: number, spread = 0): number =>
    random ? around(mean, spread, random) : mean
  const step = ({ decodeMs, spreadMs }: SimulatedStage): number =>
    drawn(decodeMs, spreadMs)
  const events = new EventQueue()
  const waiting: Frame[][] = stages.map(() => [])
  const working = stages.map(() => false)
  const worked = stages.map(() => 0)
  const linkFree = stages.map(() => 0)
  const tokensAt: number[][] = sequences.map(() => [])
  const times = stepTimesOf(ring)
  const unsent = sequences.map(({ promptTokens }) => Math.max(1, promptTokens))

  /** The next frame, and decoded tokens like it that may run with it. */
  const take = (i: number): Frame[] => {
    const queue = waiting[i] ?? []
    const [first] = queue
    if (!first) return []
    const open = tokensAt.filter((t, s) => t.length < (sequences[s]?.newTokens ?? 0))
    const alone = first.prefill || batchShare === undefined
    const most = alone ? 1 : batchSize(open.length, times, batchShare)
    const like = (frame: Frame) => !frame.prefill && frame.closing === first.closing
    const taken = [first, ...queue.slice(1).filter(like)].slice(0, most)
    waiting[i] = queue.filter((frame) => !taken.includes(frame))
    return taken
  }
  const together = (ms: number, frames: readonly Frame[]): number =>
    frames.length > 0 ? ms * (1 + (frames.length - 1) * (batchShare ?? 1)) : 0
  const work = (now: number, i: number): void => {
    const stage = stages[i]
    if (working[i] !== false || !stage) return
    const frames = take(i)
    const [first] = frames
    if (!first) return
    working[i] = true
    if (!first.closing) {
      const ms = first.prefill
        ? first.rows * stage.prefillMs
        : together(step(stage), frames)
      finish(now, i, frames, now + ms)
      return
    }
    const sampled =
      now + (first.samples ? together(drawn(headMs, headSpreadMs), frames) : 0)
    const more: Frame[] = []
    for (const frame of frames) {
      const tokens = tokensAt[frame.sequence] ?? []
      if (!frame.samples) continue
      tokens.push(sampled)
      if (tokens.length < (sequences[frame.sequence]?.newTokens ?? 0))
        more.push({ ...frame, rows: 1, prefill: false, closing: false })
    }
    finish(now, i, more, sampled + together(step(stage), more))
  }
  const finish = (
    now: number,
    i: number,
    frames: readonly Frame[],
    until: number,
  ): void => {
    worked[i] = (worked[i] ?? 0) + until - now
    events.add(until, () => {
      for (const frame of frames) {
        send(until, i, frame)
        if (i === 0 && frame.prefill) enter(until, frame.sequence)
      }
      working[i] = false
      work(until, i)
    })
  }
  const send = (now: number, i: number, frame: Frame): void => {
    const to = (i + 1) % stages.length
    const onward = { ...frame, closing: to === 0 }
    if (stages.length === 1) {
      arrive(now, 0, onward)
      return
    }
    const { latencyMs, rowMs } = links[i] ?? { latencyMs: 0, rowMs: 0 }
    const sent = Math.max(now, linkFree[i] ?? 0) + frame.rows * rowMs
    linkFree[i] = sent
    events.add(sent + latencyMs, (at) => arrive(at, to, onward))
  }
  const arrive = (now: number, i: number, frame: Frame): void => {
    waiting[i]?.push(frame)
    // What arrives at the same time gets in line first.
    events.add(now, (at) => work(at, i))
  }
  /** The next chunk of a sequence's prompt. */
  const enter = (now: number, sequence: number): void => {
    const left = unsent[sequence] ?? 0
    if (left === 0) return
    const rows = Math.min(left, chunkRows)
    unsent[sequence] = left - rows
    arrive(now, 0, {
      sequence,
      rows,
      prefill: true,
      samples: rows === left,
      closing: false,
    })
  }

  sequences.forEach(({ startMs = 0, newTokens }, i) => {
    if (newTokens > 0) events.add(startMs, (at) => enter(at, i))
  })
  const end = events.run()
  const total = tokensAt.reduce((sum, tokens) => sum + tokens.length, 0)
  return {
    tokensAt,
    tokensPerSecond: end > 0 ? (total / end) * 1000 : 0,
    steadyTokensPerSecond: steadyRate(tokensAt),
    busy: worked.map((ms) => (end > 0 ? ms / end : 0)),
  }
}

function stepTimesOf({ stages, links, headMs }: SimulatedRing): StepTimes {
  const work = stages.map(({ decodeMs }, i) => decodeMs + (i === 0 ? headMs : 0))
  const ways = stages.length > 1 ? links : []
  return {
    workMs: work.reduce((sum, ms) => sum + ms, 0),
    busiestMs: Math.max(...work),
    waysMs: ways.reduce((sum, { latencyMs, rowMs }) => sum + latencyMs + rowMs, 0),
  }
}

/** A time of this mean and standard deviation, ms: lognormal, so never below zero. */
function around(mean: number, spread: number, random: () => number): number {
  if (spread === 0 || mean === 0) return mean
  const variance = Math.log(1 + (spread / mean) ** 2)
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  return mean * Math.exp(normal * Math.sqrt(variance) - variance / 2)
}

function steadyRate(tokensAt: readonly (readonly number[])[]): number {
  const from = Math.max(...tokensAt.map((tokens) => tokens[0] ?? Infinity))
  const until = Math.min(...tokensAt.map((tokens) => tokens.at(-1) ?? -Infinity))
  if (!(until > from)) return 0
  const all = tokensAt.flat().filter((at) => at > from && at <= until)
  return (all.length / (until - from)) * 1000
}

/** What the planner predicts for a plan, as a ring to simulate; null if it cannot run. */
export function ringOf(
  stages: readonly Stage[],
  costs: ModelCosts,
  devices: readonly PlanDevice[],
  links: PlanLinks,
  reserve: Pick<PlanOptions, 'contextTokens' | 'sequences'>,
): SimulatedRing | null {
  const found = evaluatePlan(stages, costs, devices, links, reserve)
  if (!found) return null
  const index = (id: string | undefined) =>
    devices.findIndex((device) => device.id === id)
  return {
    headMs: found.starterMs,
    stages: found.stages.map(({ device, mode }, i) => {
      const speed = devices[index(device)]?.modes.find((own) => own.mode === mode)
      const decodeMs = (found.stageMs[i] ?? 0) - (i === 0 ? found.starterMs : 0)
      const ratio =
        (speed?.msPerLayerPrefill ?? speed?.msPerLayer ?? 0) / (speed?.msPerLayer ?? 1)
      return { decodeMs, prefillMs: decodeMs * (Number.isFinite(ratio) ? ratio : 1) }
    }),
    links: found.stages.map(({ device, to }, i) => {
      const [a, b] = [index(device), index(found.stages[(i + 1) % stages.length]?.device)]
      return {
        latencyMs: (links.rttMs[a]?.[b] ?? 0) / 2,
        rowMs: (costs.borderBytes[to] ?? 0) / (links.bytesPerMs[a]?.[b] ?? Infinity),
      }
    }),
  }
}

/** Events in the order of their times, then of their entry. A binary heap. */
class EventQueue {
  readonly #heap: { at: number; order: number; run: (at: number) => void }[] = []
  #order = 0

  add(at: number, run: (at: number) => void): void {
    const heap = this.#heap
    let i = heap.push({ at, order: this.#order++, run }) - 1
    while (i > 0 && this.#before(i, (i - 1) >> 1)) i = this.#swap(i, (i - 1) >> 1)
  }

  /** Runs until nothing is left; gives the time of the last event. */
  run(): number {
    const heap = this.#heap
    let now = 0
    while (heap.length > 0) {
      this.#swap(0, heap.length - 1)
      const event = heap.pop()
      for (let i = 0; ;) {
        let least = i
        for (const child of [2 * i + 1, 2 * i + 2])
          if (child < heap.length && this.#before(child, least)) least = child
        if (least === i) break
        i = this.#swap(i, least)
      }
      if (!event) break
      now = event.at
      event.run(now)
    }
    return now
  }

  #before(a: number, b: number): boolean {
    const [x, y] = [this.#heap[a], this.#heap[b]]
    if (!x || !y) return false
    return x.at < y.at || (x.at === y.at && x.order < y.order)
  }

  #swap(a: number, b: number): number {
    const heap = this.#heap
    const [x, y] = [heap[a], heap[b]]
    if (x && y) [heap[a], heap[b]] = [y, x]
    return b
  }
}
