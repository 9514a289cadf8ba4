/**
 * The next token from its logits. Deterministic: the same logits, ids, sampling and index give
 * the same token on every device, so that an answer that moved on goes on identically.
 *
 * In order: repetition penalty (Keskar et al. 2019, CTRL, section 4.1), temperature, the
 * `topK` best, then the fewest of those that hold `topP` of the probability (Holtzman et al.
 * 2019). Where logits are equal, the lower id counts as better.
 */
import { StageError } from '../stage/types.ts'
import type { Sampling } from './types.ts'

/**
 * @param logits of the whole vocabulary; changed.
 * @param ids of the sequence so far, for the repetition penalty.
 * @param index of the token within its answer.
 * @throws StageError `wrong-result` if no logit is a number.
 */
export function sample(
  logits: Float32Array | Float64Array,
  sampling: Sampling,
  ids: readonly number[],
  index: number,
): number {
  penalize(logits, sampling.repetitionPenalty, ids)
  const best = argmax(logits)
  const top = logits[best]
  if (top === undefined || top === -Infinity)
    throw new StageError('wrong-result', 'The model gave no usable result; ask again.')
  if (sampling.temperature === 0 || sampling.topK === 1 || top === Infinity) return best
  const kept = bestOf(logits, sampling.topK)
  const weights = Float64Array.from(kept, (id) =>
    Math.exp(((logits[id] ?? -Infinity) - top) / sampling.temperature),
  )
  const nucleus =
    sampling.topP < 1 ? nucleusOf(logits, kept, weights, sampling.topP) : null
  let total = 0
  for (const [i, weight] of weights.entries())
    if (nucleus?.has(i) ?? true) total += weight
  let left = random(sampling.seed, index) * total
  let chosen = best
  for (const [i, weight] of weights.entries()) {
    if (!(nucleus?.has(i) ?? true) || weight === 0) continue
    chosen = kept[i] ?? best
    left -= weight
    if (left < 0) break
  }
  return chosen
}

function penalize(
  logits: Float32Array | Float64Array,
  penalty: number,
  ids: readonly number[],
): void {
  if (penalty === 1) return
  for (const id of new Set(ids)) {
    const logit = logits[id]
    if (logit !== undefined) logits[id] = logit > 0 ? logit / penalty : logit * penalty
  }
}

/** The lowest of the best ids; NaN becomes -Infinity on the way. */
function argmax(logits: Float32Array | Float64Array): number {
  let best = 0
  let top = -Infinity
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] ?? NaN
    if (Number.isNaN(logit)) logits[id] = -Infinity
    else if (logit > top) {
      top = logit
      best = id
    }
  }
  return best
}

/** Inserting into a sorted list pays for short lists. */
const MOST_INSERTED = 512

/** Ids of the `k` largest logits (0: of all), ascending. */
function bestOf(logits: Float32Array | Float64Array, k: number): Uint32Array {
  if (k === 0 || k >= logits.length) return allOf(logits)
  const order = (a: number, b: number) => (logits[b] ?? 0) - (logits[a] ?? 0) || a - b
  if (k > MOST_INSERTED) return allOf(logits).sort(order).subarray(0, k).sort()
  // Sorted, best first; most logits fail the first comparison.
  const ids: number[] = []
  let worst = -Infinity
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] ?? -Infinity
    if (ids.length === k && logit <= worst) continue
    let low = 0
    let high = ids.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((logits[ids[middle] ?? 0] ?? 0) >= logit) low = middle + 1
      else high = middle
    }
    ids.splice(low, 0, id)
    if (ids.length > k) ids.pop()
    worst = logits[ids.at(-1) ?? 0] ?? -Infinity
  }
  return Uint32Array.from(ids).sort()
}

function allOf({ length }: ArrayLike<number>): Uint32Array {
  const ids = new Uint32Array(length)
  for (let id = 0; id < length; id++) ids[id] = id
  return ids
}

/** Indices into `kept` of the fewest entries that hold `topP` of the weight. */
function nucleusOf(
  logits: Float32Array | Float64Array,
  kept: Uint32Array,
  weights: Float64Array,
  topP: number,
): Set<number> {
  let total = 0
  for (const weight of weights) total += weight
  // Entries below this hold less than 1 - topP together: they needn't be sorted.
  const least = ((1 - topP) * total * 0.999) / kept.length
  const order: number[] = []
  for (const [i, weight] of weights.entries()) if (weight >= least) order.push(i)
  // By logits: weights of different logits may be equal once they are rounded.
  const logit = (i: number) => logits[kept[i] ?? 0] ?? 0
  order.sort((a, b) => logit(b) - logit(a) || a - b)
  const chosen = new Set<number>()
  let sum = 0
  for (const i of order) {
    chosen.add(i)
    sum += weights[i] ?? 0
    if (sum >= topP * total) break
  }
  return chosen
}

/** A number in [0, 1) from seed and index: the finalizer of MurmurHash3 over both. */
export function random(seed: number, index: number): number {
  const high = Math.floor(seed / 2 ** 32)
  return mix(mix(mix(seed >>> 0) ^ (high >>> 0)) ^ index) / 2 ** 32
}

function mix(value: number): number {
  let x = (value + 0x9e3779b9) >>> 0
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return (x ^ (x >>> 16)) >>> 0
}
