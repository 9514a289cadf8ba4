/**
 * Rooms in which layers move again and again while answers run, each from a seed: other spans
 * and starters, devices that leave and come back, links that are lost and renewed. Every answer
 * ends with the tokens of an undisturbed run.
 */
import { describe, expect, it } from 'vitest'
import { CutLinks } from './testing/cut-links.ts'
import { fakeManifest, reference, VOCABULARY } from './testing/fake-model.ts'
import { FakeRoom, randomFrom, type Answer } from './testing/fake-room.ts'
import { HOT } from './testing/rooms.ts'
import { tellStories, type Story } from './testing/stories.ts'
import { GREEDY, type Ask, type RingPlan } from './types.ts'

const DEVICES = ['a', 'b', 'c', 'd', 'e']
/** Asks, and stays. */
const GUEST = 'g'
/** Seeds that once failed. */
const PINNED: readonly number[] = [98, 131, 172]
const SEEDS = [...PINNED, ...Array.from({ length: 40 }, (_, i) => i + 1)]
/** Longest time that something in the ring waits for what will not come, ms. */
const PATIENCE_MS = 90_000

class MovingRoom implements Story {
  readonly #random: () => number
  readonly #layers: number
  readonly manifest
  readonly room: FakeRoom
  readonly #asked: { ask: Ask; answer: Answer }[] = []
  readonly #gone = new Set<string>()
  readonly #links: CutLinks
  #plan: RingPlan | null = null
  #number = 0
  moves = 0

  constructor(seed: number) {
    this.#random = randomFrom(seed * 6151)
    this.#layers = 3 + this.#upTo(6)
    this.manifest = fakeManifest({
      layers: this.#layers,
      residual: this.#random() < 0.5,
      eos: this.#random() < 0.3 ? [5] : [],
      context: 160,
    })
    this.room = new FakeRoom([...DEVICES, GUEST], {
      manifest: this.manifest,
      seed,
      chunkRows: 1 + this.#upTo(12),
    })
    this.#links = new CutLinks(this.room)
  }

  async play(): Promise<void> {
    await this.#change()
    for (let i = 0; i < 3; i++) this.#ask()
    for (let i = 0; i < 300; i++) {
      const dice = this.#random()
      if (dice < 0.02) this.#ask()
      else if (dice < 0.045) await this.#change()
      else if (dice < 0.055) await this.#leave()
      else if (dice < 0.06) this.#comeBack()
      else if (dice < 0.07)
        this.#links.cut(this.#pick(this.#there), this.#pick(this.#there))
      else if (dice < 0.09) this.#links.mendOne()
      else if (dice < 0.15) this.room.clock.move(100 + this.#upTo(400))
      else await this.room.step()
    }
    this.#links.mendAll()
    for (let waited = 0; waited < PATIENCE_MS && !this.#isDone; waited += 500) {
      await this.room.run()
      this.room.clock.move(500)
    }
  }

  async check(): Promise<void> {
    expect(this.room.errors).toEqual([])
    for (const { ask, answer } of this.#asked) {
      const { ids, maxTokens, sampling } = ask
      const wanted = await reference(this.manifest, ids, maxTokens, sampling)
      expect(answer.end).toMatchObject({ kind: 'end' })
      expect(answer.tokens).toEqual(wanted)
    }
  }

  get answers(): number {
    return this.#asked.length
  }

  get #isDone(): boolean {
    return this.#asked.every(({ answer }) => answer.end !== null)
  }

  get #there(): string[] {
    return DEVICES.filter((id) => !this.#gone.has(id))
  }

  #upTo(n: number): number {
    return Math.floor(this.#random() * n)
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[this.#upTo(items.length)]
  }

  #ask(): void {
    if (this.#asked.length >= 6) return
    const ids = Array.from({ length: 1 + this.#upTo(60) }, () => this.#upTo(VOCABULARY))
    const sampling = this.#random() < 0.5 ? GREEDY : { ...HOT, seed: this.#upTo(99) }
    const ask = {
      sequence: this.#asked.length + 1,
      ids,
      maxTokens: 10 + this.#upTo(40),
      sampling,
    }
    this.#asked.push({ ask, answer: this.room.ask(GUEST, ask) })
  }

  /** Another plan for who is there; engines, and what is in their caches, stay. */
  async #change(): Promise<void> {
    this.#number++
    this.moves++
    const order = this.#there.map((id) => ({ id, key: this.#random() }))
    order.sort((x, y) => x.key - y.key)
    const cuts = Array.from({ length: this.#upTo(3) }, () => 1 + this.#upTo(this.#layers))
    const ends = [...new Set([...cuts, this.#layers])].sort((x, y) => x - y)
    if (ends.length < order.length && this.#random() < 0.3) ends.unshift(0)
    const stages = ends.slice(0, order.length).map((to, i, all) => ({
      device: order[i]?.id ?? '',
      from: all[i - 1] ?? 0,
      to: i === all.length - 1 ? this.#layers : to,
    }))
    const plan = { epoch: { term: 1, number: this.#number }, stages }
    const before = this.#plan
    this.#plan = plan
    await this.#each((id) => this.room.prepare(plan, before, [id]))
    await this.#each((id) => {
      this.room.serve(plan, [id])
    })
  }

  /** Devices one after the other, while frames travel. */
  async #each(act: (id: string) => unknown): Promise<void> {
    const order = [...this.#there, GUEST].sort(() => this.#random() - 0.5)
    for (const id of order) {
      await act(id)
      for (let i = this.#upTo(5); i > 0; i--) await this.room.step()
    }
  }

  /** Without a goodbye; a plan without it follows. */
  async #leave(): Promise<void> {
    const id = this.#there.length > 2 ? this.#pick(this.#there) : undefined
    if (id === undefined) return
    this.#gone.add(id)
    this.room.remove(id)
    this.#links.forget(id)
    for (let i = this.#upTo(8); i > 0; i--) await this.room.step()
    await this.#change()
  }

  /** With nothing that it had. */
  #comeBack(): void {
    const id = this.#pick([...this.#gone])
    if (id === undefined) return
    this.#gone.delete(id)
    this.room.add(id)
    for (const other of [...this.#there, GUEST])
      if (other !== id) this.room.connect(id, other)
  }
}

describe('layers that move all the time', () => {
  let [answers, moves] = [0, 0]

  tellStories(
    SEEDS,
    20,
    (seed) => new MovingRoom(seed),
    (room) => {
      answers += room.answers
      moves += room.moves
    },
  )

  it('and many answers ran meanwhile', () => {
    expect(answers).toBeGreaterThan(4 * SEEDS.length)
    expect(moves).toBeGreaterThan(6 * SEEDS.length)
  })
})
