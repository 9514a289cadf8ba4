/** What a step of the plan that serves takes on its lap, as the devices tell of themselves. */
import type { StepTimes } from '../../model-split/plan/batch-size.ts'
import type { RingStage } from '../../workers/ring/types.ts'
import type { StageApi } from '../../workers/stage/api.ts'
import { twoDigits } from './figures.ts'
import type { Facts } from './protocol.ts'
import type { Replica } from './replica.ts'

/** One token through a stage as its device measures itself, ms; null before. */
export function stageMs(
  stage: RingStage,
  starter: boolean,
  { msPerLayer, msStarter }: Pick<Facts, 'msPerLayer' | 'msStarter'>,
): number | null {
  if (msPerLayer === null) return null
  return msPerLayer * (stage.to - stage.from) + (starter ? (msStarter ?? 0) : 0)
}

/**
 * Null where a device of it has not told yet. A token's hidden state is short, so that ways are
 * half a round trip.
 */
export function stepTimes(
  stages: readonly RingStage[],
  facts: ReadonlyMap<string, Pick<Facts, 'msPerLayer' | 'msStarter' | 'links'>>,
): StepTimes | null {
  let workMs = 0
  let busiestMs = 0
  let waysMs = 0
  for (const [i, stage] of stages.entries()) {
    const told = facts.get(stage.device)
    const ms = told ? stageMs(stage, i === 0, told) : null
    if (ms === null) return null
    workMs += ms
    busiestMs = Math.max(busiestMs, ms)
    const next = stages[(i + 1) % stages.length]
    waysMs += (told?.links.find(({ device }) => device === next?.device)?.rttMs ?? 0) / 2
  }
  if (busiestMs === 0) return null
  return {
    workMs: twoDigits(workMs),
    busiestMs: twoDigits(busiestMs),
    waysMs: twoDigits(waysMs),
  }
}

/** Tells this device's stage, when they have changed. */
export class StepTimesTeller {
  #told = 'null'

  constructor(
    private readonly replica: Pick<Replica, 'state' | 'facts'>,
    private readonly stage: Pick<StageApi, 'setStepTimes'>,
  ) {}

  tell(): void {
    const { state, facts } = this.replica
    const times = stepTimes(state?.active?.stages ?? [], facts)
    const words = JSON.stringify(times)
    if (words === this.#told) return
    this.#told = words
    this.stage.setStepTimes(times).catch(() => undefined)
  }
}
