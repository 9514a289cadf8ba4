/**
 * Token ids to text while they come. What has been shown never changes: an incomplete UTF-8
 * sequence decodes to U+FFFD at the end of the text and is held back until it is complete.
 *
 * Decoding all ids again for each new one would be quadratic, so only a window of the last
 * ids is decoded. The window's start moves only to places where no sequence was open; there
 * the text is the same whether decoded in one go or in two.
 */

export interface StreamDecoder {
  /** The text that is safe to show now. */
  push(ids: readonly number[]): string
  /** The rest. */
  finish(): string
}

/** Ids that come before the window's start moves. */
const WINDOW = 16
const REPLACEMENT = '\uFFFD'

/**
 * @param decode ids to text without special tokens and without any clean-up that depends on
 * what follows.
 */
export function createStreamDecoder(
  decode: (ids: readonly number[]) => string,
): StreamDecoder {
  let window: number[] = []
  /** Where the window will start next. */
  let mark = 0
  /** Length of the window's text that has been handed out. */
  let shown = 0

  const moveOn = (text: string) => {
    const tail = window.slice(mark)
    const tailText = decode(tail)
    // Some decoders strip a space at the start; the end must agree all the same.
    if (text.endsWith(tailText)) {
      window = tail
      shown = tailText.length
    }
    mark = window.length
  }
  const one = (id: number) => {
    window.push(id)
    const text = decode(window)
    const open = text.endsWith(REPLACEMENT)
    const safe = open ? text.length - REPLACEMENT.length : text.length
    // A decoder that takes text back would show it twice.
    if (safe < shown) return ''
    const fresh = text.slice(shown, safe)
    shown = safe
    if (!open && window.length - mark >= WINDOW) moveOn(text)
    return fresh
  }
  return {
    push: (ids) => ids.map(one).join(''),
    finish() {
      const rest = decode(window).slice(shown)
      window = []
      mark = 0
      shown = 0
      return rest
    },
  }
}
