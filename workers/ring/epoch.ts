/** Order of plans. */
import type { Epoch } from './types.ts'

/** Negative: `a` is older than `b`; 0: the same plan. A higher term wins, then a higher number. */
export function compareEpochs(a: Epoch, b: Epoch): number {
  return a.term - b.term || a.number - b.number
}
