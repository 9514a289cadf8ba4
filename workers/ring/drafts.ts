/**
 * Drafts: guesses of the next tokens that the ring checks in one lap. What followed the same
 * words earlier in the conversation is likely to follow again (Saxena 2023, "Prompt lookup
 * decoding"). A draft is as long as pays, by what drafts brought and cost so far: often empty.
 */

/** A longer draft rarely holds to its end. */
const MOST_DRAFT = 10
/** Ids that must agree before what followed them counts as a guess. */
const LEAST_MATCH = 2
const MOST_MATCH = 4

export interface Guess {
  /** How many ids agreed before it. */
  readonly match: number
  readonly tokens: readonly number[]
}

const NOTHING: Guess = { match: 0, tokens: [] }

/** What followed the longest, then newest, earlier match of the last ids. */
export function lookUp(ids: readonly number[], most: number): Guess {
  const end = ids.length
  let match = LEAST_MATCH - 1
  let after = 0
  for (let at = end - 1; at > match; at--) {
    let length = 0
    while (
      length < MOST_MATCH &&
      length < at &&
      ids[at - 1 - length] === ids[end - 1 - length]
    )
      length++
    if (length <= match) continue
    match = length
    after = at
    if (match === MOST_MATCH) break
  }
  if (after === 0 || most <= 0) return NOTHING
  // Past the end it goes round: the match and what followed it may overlap.
  const length = end - after
  const tokens = Array.from({ length: most }, (_, i) => ids[after + (i % length)] ?? 0)
  return { match, tokens }
}

/** Laps that are remembered: a change of the ring is soon noticed. */
const LAPS = 32
/** A further row, as a share of a lap, before it was measured. */
const UNKNOWN_SHARE = 0.3
/** Noise makes rows look free. */
const LEAST_SHARE = 0.02

/** What a further row costs in a lap of this ring. */
export class LapCosts {
  readonly #laps: { readonly rows: number; readonly ms: number }[] = []
  #share: number | null = null

  add(rows: number, ms: number): void {
    this.#laps.push({ rows, ms })
    if (this.#laps.length > LAPS) this.#laps.shift()
    this.#share = null
  }

  /**
   * Time of a further row as a share of a lap of one row: the median of all slopes (Theil-Sen),
   * which laps that waited for something else don't spoil.
   */
  get share(): number {
    return (this.#share ??= this.#measure())
  }

  #measure(): number {
    const slopes = this.#laps.flatMap((a, i) =>
      this.#laps
        .slice(i + 1)
        .filter((b) => b.rows !== a.rows)
        .map((b) => (b.ms - a.ms) / (b.rows - a.rows)),
    )
    if (slopes.length === 0) return UNKNOWN_SHARE
    const slope = median(slopes)
    const lap = median(this.#laps.map(({ rows, ms }) => ms - (rows - 1) * slope))
    return lap > 0 ? Math.max(LEAST_SHARE, slope / lap) : UNKNOWN_SHARE
  }
}

/** How often guesses held, newer ones weighing more. */
class Trust {
  #held = 1
  #tried = 2

  get rate(): number {
    return this.#held / this.#tried
  }

  add(held: number, tried: number): void {
    this.#held = 0.9 * this.#held + held
    this.#tried = 0.9 * this.#tried + tried
  }
}

/** Times as many tokens that a draft must promise: rates and costs are rough. */
const LEAST_GAIN = 1.1

/** The drafts of one answer. */
export class Drafter {
  readonly #costs: LapCosts
  /** By length of the match. */
  readonly #trust = Array.from({ length: MOST_MATCH + 1 }, () => new Trust())
  #guess = NOTHING

  constructor(costs: LapCosts) {
    this.#costs = costs
  }

  /** What to try after `ids`: at most `most` tokens, none where a plain lap brings more. */
  next(ids: readonly number[], most: number): readonly number[] {
    this.#guess = lookUp(ids, Math.min(most, MOST_DRAFT))
    const { tokens, match } = this.#guess
    return tokens.slice(0, this.#bestLength(tokens.length, this.#trust[match]?.rate ?? 0))
  }

  /**
   * The tokens that came then. Guesses are judged whether they were tried or not, so a drafter
   * that has stopped notices when they would pay again.
   */
  heard(tokens: readonly number[]): void {
    const { match, tokens: guess } = this.#guess
    this.#guess = NOTHING
    const seen = Math.min(guess.length, tokens.length)
    if (seen === 0) return
    let held = 0
    while (held < seen && guess[held] === tokens[held]) held++
    this.#trust[match]?.add(held, Math.min(held + 1, seen))
  }

  /** Most tokens for the time: n guesses give 1 + r + … + rⁿ tokens for 1 + n·share laps. */
  #bestLength(most: number, rate: number): number {
    const { share } = this.#costs
    let best = { length: 0, gain: LEAST_GAIN }
    let tokens = 1
    for (let length = 1; length <= most; length++) {
      tokens += rate ** length
      const gain = tokens / (1 + length * share)
      if (gain > best.gain) best = { length, gain }
    }
    return best.length
  }
}

/** 0 for an empty list; of two in the middle the lower one. */
function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[(sorted.length - 1) >> 1] ?? 0
}
