/**
 * Deals that are worked out elsewhere: with many devices that takes longer than a page may stand
 * still. One question at a time; until its answer is there the last one holds for a moment, if
 * only measurements have changed since.
 */
import type { Manifest } from '../../model-split/manifest.ts'
import type { RingStage } from '../../workers/ring/types.ts'
import type { Clock } from './clock.ts'
import type { Deal, DealDevice, Known, Load } from './deal.ts'
import { coarse } from './plan-deal.ts'

/** An answer for measurements of so long ago is as good as a new one, ms. */
const FRESH_MS = 1000

/** As a `Deal`, but later. @throws Error where it cannot be worked out there. */
export type LaterDeal = (...question: Parameters<Deal>) => Promise<Known>

interface Answer {
  readonly question: string
  readonly shape: string
  readonly askedAt: number
  readonly dealt: Known
}

export class DealDesk {
  readonly #work: LaterDeal
  readonly #clock: Pick<Clock, 'now'>
  #answer: Answer | null = null
  #pending: Promise<void> | null = null

  /** @param here works it out on the page, where it fails elsewhere. */
  constructor(
    work: LaterDeal,
    here: (...question: Parameters<Deal>) => Known,
    clock: Pick<Clock, 'now'>,
  ) {
    this.#work = (...question) => work(...question).catch(() => here(...question))
    this.#clock = clock
  }

  readonly deal: Deal = (manifest, devices, now, load) => {
    const question = JSON.stringify([
      manifest.graph.sha256,
      devices.map(coarse),
      now,
      load,
    ])
    const answer = this.#answer
    if (answer?.question === question) return answer.dealt
    const shape = shapeOf(manifest, devices, now, load)
    this.#pending ??= this.#ask(question, shape, [manifest, devices, now, load])
    const isFresh = answer && this.#clock.now() - answer.askedAt < FRESH_MS
    if (isFresh && answer.shape === shape) return answer.dealt
    return { kind: 'thinking', known: this.#pending }
  }

  async #ask(question: string, shape: string, asked: Parameters<Deal>): Promise<void> {
    const askedAt = this.#clock.now()
    try {
      const dealt = await this.#work(...asked)
      this.#answer = { question, shape, askedAt, dealt }
    } finally {
      this.#pending = null
    }
  }
}

/** All but what is measured anew while devices work. */
function shapeOf(
  manifest: Manifest,
  devices: readonly DealDevice[],
  now: readonly RingStage[] | null,
  load: Load,
): string {
  const rough = devices.map(({ links, msPerLayer, msStarter, ...device }) => ({
    ...device,
    links: links.map((link) => link.device),
    measured: [msPerLayer !== null, msStarter !== null],
  }))
  return JSON.stringify([manifest.graph.sha256, rough, now, load])
}
