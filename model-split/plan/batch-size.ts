/** How many decoding steps that wait at a stage run as one. */

/** What one step takes on its lap, ms. */
export interface StepTimes {
  /** All stages together, embedding and head included. */
  readonly workMs: number
  readonly busiestMs: number
  /** All ways between stages. */
  readonly waysMs: number
}

/** Share of a step's time that a further one in its batch is reckoned with; measured, less. */
const BATCH_SHARE = 0.5

/**
 * The batch by which most tokens come. Larger ones take less time each, but they travel
 * together for good: a ring with fewer batches than stages and ways keep under way has stages
 * that wait. With batches of n each, tokens come no faster than all sequences in one lap, and
 * n in the busiest stage's time (Little's law).
 * @param sequences that are being answered.
 * @param share of a step's time that a further one in its batch takes.
 */
export function batchSize(
  sequences: number,
  step: StepTimes,
  share = BATCH_SHARE,
): number {
  let best = { size: 1, rate: 0 }
  for (let size = 1; size <= sequences; size++) {
    const longer = 1 + (size - 1) * share
    const lap = step.workMs * longer + step.waysMs
    const rate = Math.min(sequences / lap, size / (step.busiestMs * longer))
    if (rate > best.rate * 1.0001) best = { size, rate }
  }
  return best.size
}

/** Where times are not known: stages alike, and no time between them. */
export function alikeStages(stages: number): StepTimes {
  return { workMs: stages, busiestMs: 1, waysMs: 0 }
}
