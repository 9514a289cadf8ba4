/** Which part of a growing answer a screen reader hears next: whole sentences only. */

/** Index after the last whole sentence, at least `from`. */
export function sentenceEnd(text: string, from: number): number {
  let end = from
  for (const match of text.slice(from).matchAll(/[.!?。！？:;](?=\s)|\n+/gu))
    end = from + match.index + match[0].length
  return end
}

/** Symbols that would be read aloud one by one. */
export function speakable(markdown: string): string {
  return markdown
    .replace(/```[\s\S]*?(?:```|$)/g, ' (code) ')
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[*_`#>|~]+/g, '')
    .replace(/\s+/g, ' ')
    .trim()
}

/** Follows one answer. */
export class SpokenAnswer {
  private heard = 0

  /** What to say now; empty when no new sentence is whole. */
  next(text: string, ended: boolean): string {
    const end = ended ? text.length : sentenceEnd(text, this.heard)
    const part = text.slice(this.heard, end)
    // An odd number of fences: the code block is not over.
    if (!ended && (part.split('```').length - 1) % 2 === 1) return ''
    this.heard = end
    return speakable(part)
  }
}
