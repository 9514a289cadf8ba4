/** The line under an answer. */
import { count, milliseconds, percent, rate } from '../shell/format.ts'
import type { Message } from '../room/types.ts'

/**
 * Empty where nothing was measured.
 * @param context longest conversation of the model in tokens; 0 where that is not known.
 */
export function statsWords({ stats }: Message, context = 0): string {
  if (!stats || stats.newTokens < 1) return ''
  const parts = [`${milliseconds(stats.firstTokenMs)} to first word`]
  // The first token belongs to reading the question, the others to writing.
  if (stats.newTokens > 1 && stats.decodeMs > 0)
    parts.unshift(rate((stats.newTokens - 1) / (stats.decodeMs / 1000)))
  parts.push(count(stats.newTokens, 'token', 'tokens'))
  const used = stats.promptTokens + stats.newTokens
  if (context > 0 && used * 10 >= context)
    parts.push(`${percent(used, context)}\u00a0% of what this chat can hold`)
  return parts.join(' · ')
}

/** While the answer is being written; empty before two tokens are there. */
export function liveWords({ live }: Message): string {
  if (!live || live.tokens < 2 || live.ms <= 0) return ''
  return `${rate((live.tokens - 1) / (live.ms / 1000))} · ${count(live.tokens, 'token', 'tokens')}`
}
