/**
 * A text that grows at its end, as blocks: those that can't change any more are given out
 * once, only the last one is looked at again. So an answer of any length costs the same per
 * token.
 */

/** A block of text; `raw` is its source. */
export interface Block {
  readonly type: string
  readonly raw: string
}

export interface Growth<B> {
  /** The text was replaced, not continued: forget what was shown. */
  readonly restart: boolean
  /** Blocks that are final now, in order. */
  readonly settled: readonly B[]
  /** The rest, which may still change. */
  readonly open: readonly B[]
}

export class GrowingText<B extends Block> {
  private text = ''
  /** Length of the settled text. */
  private settledTo = 0

  constructor(private readonly lex: (text: string) => B[]) {}

  /** @param ended no more text comes: everything settles. */
  update(text: string, ended: boolean): Growth<B> {
    const restart = !text.startsWith(this.text)
    if (restart) this.settledTo = 0
    this.text = text
    const blocks = this.lex(text.slice(this.settledTo))
    const keep = ended ? blocks.length : firstOpen(blocks)
    const settled = blocks.slice(0, keep)
    const length = settled.reduce((sum, { raw }) => sum + raw.length, 0)
    this.settledTo += length
    return { restart, settled, open: blocks.slice(keep) }
  }
}

/**
 * Index of the first block that may still change: the last one (a list goes on after an empty
 * line), and while that one's first line isn't whole (`3` may become `3. Third`) the one
 * before.
 */
function firstOpen(blocks: readonly Block[]): number {
  const last = blocks.findLastIndex(({ type }) => type !== 'space')
  if (last < 1 || blocks[last]?.raw.includes('\n') || last < blocks.length - 1)
    return Math.max(0, last)
  return Math.max(
    0,
    blocks.slice(0, last).findLastIndex(({ type }) => type !== 'space'),
  )
}
