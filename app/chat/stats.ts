/** The line under an answer. */
import { count, milliseconds, rate } from '../shell/format.ts'
import type { Message } from '../room/types.ts'

/** Empty where nothing was measured. */
export function statsWords({ stats }: Message): string {
  if (!stats || stats.newTokens < 1) return ''
  const parts = [`${milliseconds(stats.firstTokenMs)} to the first word`]
  // The first token belongs to reading the question, the others to writing.
  if (stats.newTokens > 1 && stats.decodeMs > 0)
    parts.unshift(rate((stats.newTokens - 1) / (stats.decodeMs / 1000)))
  parts.push(count(stats.newTokens, 'token', 'tokens'))
  return parts.join(' · ')
}
