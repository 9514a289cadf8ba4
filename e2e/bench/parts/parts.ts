/** The parts by name, in the order in which they run. */
import type { Bench } from '../bench.ts'
import { runPlanSim } from '../plan-sim.ts'
import type { Row } from '../rows.ts'
import { aggregate, batch, stages } from './many.ts'
import { migrate } from './migrate.ts'
import { planned } from './plan-tabs.ts'
import { rebalance } from './rebalance.ts'
import { hop, ring } from './ring.ts'
import { decode, prefill } from './single.ts'
import { speculation } from './speculation.ts'

export const PARTS: Readonly<Record<string, (bench: Bench) => Promise<Row[]>>> = {
  'decode.1thread': (bench) => decode(bench, 1),
  'decode.2threads': (bench) => decode(bench, 2),
  'prefill.1thread': (bench) => prefill(bench, 1),
  'prefill.2threads': (bench) => prefill(bench, 2),
  ring,
  hop,
  aggregate,
  batch,
  stages,
  'plan.sim': (bench) => Promise.resolve(runPlanSim((line) => bench.log(`  ${line}`))),
  'plan.tabs': (bench) => planned(bench, 'plan.tabs', 'fast'),
  'plan.everyone': (bench) => planned(bench, 'plan.everyone', 'planned'),
  rebalance,
  migrate,
  speculation,
}
