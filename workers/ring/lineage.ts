/**
 * Which attempt wrote which rows of a sequence's caches on one stage.
 *
 * A frame at position P says which attempt fed row P-1. If the same attempt wrote row P-1
 * here, then all rows below are the starter's rows too: that attempt's chunks ran in order,
 * and each was checked in the same way. Otherwise a rollback got lost on the way, and the
 * rows must not be built upon. Rows that are copied from another device are checked alike.
 */
export class Lineage {
  /** Ascending; each attempt wrote `[start, next start)`. */
  #ranges: { start: number; attempt: number }[] = []
  #rows = 0

  get rows(): number {
    return this.#rows
  }

  /** Whether row `position - 1` was written by `base`. */
  continues(position: number, base: number): boolean {
    if (position === 0) return true
    return position <= this.#rows && this.writer(position - 1) === base
  }

  /**
   * Up to where a starter that was refused at `position` may try again: what is here, less
   * the attempt that it did not know.
   */
  reliable(position: number): number {
    if (position > this.#rows) return this.#rows
    return this.#ranges.findLast(({ start }) => start < position)?.start ?? 0
  }

  wrote(position: number, rows: number, attempt: number): void {
    this.truncate(position)
    if (this.#ranges.at(-1)?.attempt !== attempt)
      this.#ranges.push({ start: position, attempt })
    this.#rows = position + rows
  }

  truncate(length: number): void {
    if (length >= this.#rows) return
    this.#rows = length
    this.#ranges = this.#ranges.filter(({ start }) => start < length)
  }

  /** The attempt that wrote a row; 0 where nothing did. */
  writer(row: number): number {
    if (row < 0 || row >= this.#rows) return 0
    return this.#ranges.findLast(({ start }) => start <= row)?.attempt ?? 0
  }
}
