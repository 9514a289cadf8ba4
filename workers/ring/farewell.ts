/**
 * A starter tells the stages of a plan that it feeds nothing under it any more. What was on a
 * link that is lost is lost, so it tells again whenever a link to one of them stands anew; and a
 * stage that loses the starter itself needs no telling.
 */
import { PLAIN, type Frame } from './frame.ts'
import type { RingPlan } from './types.ts'

export class Farewell {
  readonly #self: string
  readonly #send: (device: string, frame: Frame) => void
  /** The newest plan that is over. */
  #plan: RingPlan | null = null

  constructor(self: string, send: (device: string, frame: Frame) => void) {
    this.#self = self
    this.#send = send
  }

  tell(plan: RingPlan): void {
    this.#plan = plan
    for (const { device } of plan.stages) this.#to(device)
  }

  up(device: string): void {
    if (this.#plan?.stages.some((stage) => stage.device === device)) this.#to(device)
  }

  #to(device: string): void {
    if (!this.#plan || device === this.#self) return
    const { epoch } = this.#plan
    this.#send(device, { ...PLAIN, kind: 'moved', epoch, sequence: 0 })
  }
}
