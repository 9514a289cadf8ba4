/** Deals off the page's thread: see planner.ts. */
import { expose } from 'comlink'
import type { Manifest } from '../../model-split/manifest.ts'
import type { RingStage } from '../../workers/ring/types.ts'
import type { DealDevice, Load } from './deal.ts'
import { planDeal } from './plan-deal.ts'

let model: Manifest | null = null

const api = {
  open(manifest: Manifest): void {
    model = manifest
  },
  deal(devices: readonly DealDevice[], now: readonly RingStage[] | null, load: Load) {
    if (!model) throw new Error('No model is open.')
    return planDeal(model, devices, now, load)
  },
}

export type PlanWorkerApi = typeof api

expose(api)
