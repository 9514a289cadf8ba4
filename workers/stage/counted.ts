/** Things with several users, by key; each is closed with its last user. */
export class Counted<T> {
  readonly #held = new Map<string, { readonly value: T; users: number }>()
  readonly #close: (value: T) => Promise<void>

  constructor(close: (value: T) => Promise<void>) {
    this.#close = close
  }

  has(key: string): boolean {
    return this.#held.has(key)
  }

  get keys(): string[] {
    return [...this.#held.keys()]
  }

  get values(): T[] {
    return [...this.#held.values()].map(({ value }) => value)
  }

  /** One more user of what is there, or of what `open` makes. */
  async acquire(key: string, open: () => Promise<T>): Promise<T> {
    const known = this.#held.get(key)
    if (known) {
      known.users++
      return known.value
    }
    const value = await open()
    // Another call may have been faster.
    const other = this.#held.get(key)
    if (!other) {
      this.#held.set(key, { value, users: 1 })
      return value
    }
    other.users++
    await this.#close(value)
    return other.value
  }

  async release(key: string): Promise<void> {
    const held = this.#held.get(key)
    if (!held || --held.users > 0) return
    this.#held.delete(key)
    await this.#close(held.value)
  }
}
