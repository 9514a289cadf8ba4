/** The planner in a worker of its own; on the page where the worker does not start. */
import { wrap } from 'comlink'
import { systemClock } from './clock.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import type { Deal } from './deal.ts'
import { DealDesk, type LaterDeal } from './deal-desk.ts'
import { planDeal } from './plan-deal.ts'
import type { PlanWorkerApi } from './plan.worker.ts'

export interface Planner {
  readonly deal: Deal
  readonly end: () => void
}

export function startPlanner(): Planner {
  let worker: Worker
  try {
    worker = new Worker(new URL('./plan.worker.ts', import.meta.url), {
      type: 'module',
      name: 'plan',
    })
  } catch {
    return { deal: planDeal, end: () => undefined }
  }
  const remote = wrap<PlanWorkerApi>(worker)
  // A worker that cannot be loaded answers nothing, and says so once.
  const broken = new Promise<never>((_, reject) => {
    worker.addEventListener('error', () =>
      reject(new Error('The planner does not start.')),
    )
  })
  broken.catch(() => undefined)
  let opened: Manifest | null = null
  const work: LaterDeal = (manifest, devices, now, load) => {
    // Calls are answered in their order.
    const open = manifest === opened ? null : remote.open(manifest)
    opened = manifest
    const dealt = remote.deal(devices, now, load)
    return Promise.race([broken, Promise.all([open, dealt]).then(([, found]) => found)])
  }
  const desk = new DealDesk(work, planDeal, systemClock)
  return { deal: desk.deal, end: () => worker.terminate() }
}
