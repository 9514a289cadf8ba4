/** Answers that are under way in the room. */
import type { Facts } from './protocol.ts'

export function runningIn({
  facts,
}: {
  readonly facts: ReadonlyMap<string, Facts>
}): number {
  return [...facts.values()].reduce((sum, { running }) => sum + running, 0)
}
