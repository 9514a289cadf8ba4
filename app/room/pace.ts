/** How fast this device is against what it usually is: browsers and heat slow phones down. */
import type { Facts } from './protocol.ts'

/** Out of the ring nothing is measured: after so long a slow device counts as rested, ms. */
export const REST_MS = 30_000
const MOST_DOUBLINGS = 4
/** So much slower than usual a device counts as slow. */
export const SLOW = 2

type Mode = NonNullable<Facts['mode']>

export interface Measured {
  readonly mode: Mode
  readonly msPerLayer: number
}

export class Pace {
  /** The best that was measured, by form and by how: at work caches are colder than at load. */
  readonly #usual = new Map<string, number>()
  #newest: Measured | null = null
  #slowdown = 1
  #slowSince: number | null = null
  #relapses = 0

  /** Against the best so far: 1 as ever, 3 three times as slow. */
  get slowdown(): number {
    return this.#slowdown
  }

  /** From steps of answers. */
  worked(measured: Measured, now: number): void {
    this.#compare(measured, 'work', now)
    this.#newest = measured
  }

  /**
   * Measured while loading. What is known from work says more; without any layers so far it
   * says how slow the device is now.
   * @param running whether the device runs layers meanwhile.
   * @returns what to count with.
   */
  loaded(measured: Measured, running: boolean, now: number): number {
    const work = this.#usual.get(`${measured.mode} work`)
    if (work !== undefined && running && this.#newest?.mode === measured.mode)
      return this.#newest.msPerLayer
    this.#compare(measured, 'load', now)
    const msPerLayer = work === undefined ? measured.msPerLayer : work * this.#slowdown
    this.#newest = { ...measured, msPerLayer }
    return msPerLayer
  }

  /**
   * A slow device that has no layers is given another try after a while, a longer one each
   * time. What it takes at usual speed, or null: nothing changes.
   */
  rest(now: number): Measured | null {
    const newest = this.#newest
    if (!newest || this.#slowSince === null) return null
    if (now - this.#slowSince < REST_MS * 2 ** Math.min(this.#relapses, MOST_DOUBLINGS))
      return null
    this.#relapses += 1
    this.#slowSince = null
    const rested = { ...newest, msPerLayer: newest.msPerLayer / this.#slowdown }
    this.#slowdown = 1
    return rested
  }

  #compare({ mode, msPerLayer }: Measured, how: 'work' | 'load', now: number): void {
    if (!(msPerLayer > 0)) return
    const key = `${mode} ${how}`
    const usual = Math.min(this.#usual.get(key) ?? Infinity, msPerLayer)
    this.#usual.set(key, usual)
    this.#slowdown = msPerLayer / usual
    if (this.#slowdown < SLOW) this.#slowSince = null
    else this.#slowSince ??= now
  }
}
