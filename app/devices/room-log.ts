/** What this phone saw of the room's speed since it came in. Pure but for the clock given. */
import type { RoomView } from '../room/types.ts'

export interface RoomSample {
  /** Milliseconds since 1970. */
  readonly at: number
  /** Of one answer; null while none is written. */
  readonly tokensPerSecond: number | null
  /** One token through each stage, ms, by device; only what was measured. */
  readonly stages: ReadonlyMap<string, number>
}

/** Between two samples, ms. */
export const SAMPLE_MS = 1000
/** Older samples go: five minutes at one a second. */
export const MOST_SAMPLES = 300

export class RoomLog {
  #samples: readonly RoomSample[] = []
  #last: { readonly id: string; readonly tokens: number; readonly ms: number } | null =
    null

  /** Answer whose whole rate was taken, as it ended between two samples. */
  #ended: string | null = null

  /** Oldest first; another array whenever a sample was added. */
  get samples(): readonly RoomSample[] {
    return this.#samples
  }

  /** Call whenever the view changes. @param now milliseconds since 1970. */
  add(view: RoomView, now: number): void {
    const newest = this.#samples.at(-1)
    if (newest && now - newest.at < SAMPLE_MS) return
    const stages = new Map(
      view.devices.flatMap(({ id, stageMs }) =>
        stageMs === null ? [] : [[id, stageMs]],
      ),
    )
    const tokensPerSecond = this.#rate(view)
    if (stages.size === 0 && tokensPerSecond === null) return
    const sample = { at: now, tokensPerSecond, stages }
    this.#samples = [...this.#samples, sample].slice(-MOST_SAMPLES)
  }

  /** Of the own answer since the last sample or, once it is done, as a whole; else by the laps of others' answers. */
  #rate({ messages, lapMs, othersAsking }: RoomView): number | null {
    const message = messages.at(-1)
    const live = message?.state === 'streaming' ? message.live : undefined
    if (message && live) {
      const last = this.#last?.id === message.id ? this.#last : { tokens: 1, ms: 0 }
      this.#last = { id: message.id, tokens: live.tokens, ms: live.ms }
      const [tokens, ms] = [live.tokens - last.tokens, live.ms - last.ms]
      if (tokens > 0 && ms > 0) return (tokens / ms) * 1000
    }
    const { stats } = message ?? {}
    if (message && stats && message.id !== this.#ended && message.state !== 'streaming') {
      this.#ended = message.id
      if (stats.newTokens > 1 && stats.decodeMs > 0)
        return ((stats.newTokens - 1) / stats.decodeMs) * 1000
    }
    return othersAsking > 0 && lapMs !== null && lapMs > 0 ? 1000 / lapMs : null
  }
}

/** The picture in words. */
export function speedWords(samples: readonly RoomSample[]): string {
  const rates = samples.flatMap(({ tokensPerSecond }) => tokensPerSecond ?? [])
  const last = rates.at(-1)
  if (last === undefined) return 'No answer was written yet.'
  const digits = (rate: number): string => rate.toFixed(rate < 10 ? 1 : 0)
  return `Tokens per second: last ${digits(last)}, lowest ${digits(Math.min(...rates))}, highest ${digits(Math.max(...rates))}.`
}
