/** One plan as one device serves it, and what follows from it. */
import type { Manifest } from '../../model-split/manifest.ts'
import type { Engine } from '../stage/types.ts'
import type { Holding } from './holding.ts'
import type { KvCopy } from './kv-copy.ts'
import { neighboursOf, routesOf, type Routes } from './routes.ts'
import type { NodePlan } from './chunk.ts'
import type { RingPlan } from './types.ts'

/** What this device lends to a plan. */
export interface Part {
  readonly engine: Engine
  /** Of the engine: what it loaded for this plan. */
  readonly layout: number
  /** Bytes that caches may take. */
  readonly cacheBudget: number
  /** Longest sequence that the caches hold here. */
  readonly context: number
  /** The engine failed for good; a new plan must bring another. */
  readonly onBroken?: () => void
  /** Nothing is run under this plan any more: the layout may be unloaded. */
  readonly onEnded?: () => void
}

export interface Serving {
  readonly plan: RingPlan
  /** The plan that served when this one was prepared. */
  readonly before: RingPlan | null
  readonly part: Part | null
  /** Null where the plan gives this device nothing to run. */
  readonly routes: Routes | null
  readonly node: NodePlan | null
  readonly copy: KvCopy | null
  readonly neighbours: ReadonlySet<string>
  /** Nothing is fed under it any more. */
  isOver: boolean
}

/** @throws Error where the plan does not fit the model. */
export function servingOf(
  manifest: Manifest,
  plan: RingPlan,
  self: string,
  given: {
    readonly part: Part | null
    readonly before: RingPlan | null
    readonly holding: Holding | null
  },
): Serving {
  const { part, before, holding } = given
  const routes = routesOf(manifest, plan, self)
  const sources = routes && before ? sourcesOf(routes, before) : new Map<number, string>()
  const copy =
    part && holding && sources.size > 0
      ? holding.copy(plan, sources, part.cacheBudget)
      : null
  const { layout = 0, cacheBudget = 0 } = part ?? {}
  return {
    plan,
    before,
    part,
    routes,
    copy,
    node: routes && part ? { routes, layout, cacheBudget, copy } : null,
    neighbours: neighboursOf(routes),
    isOver: false,
  }
}

/** What was prepared, with what the device lends now. */
export function servedBy(serving: Serving, part: Part | null): Serving {
  const { node } = serving
  if (!part || !node) return { ...serving, part }
  const { layout, cacheBudget } = part
  return { ...serving, part, node: { ...node, layout, cacheBudget } }
}

export function starterOf(plan: RingPlan | null | undefined): string | null {
  return plan?.stages[0]?.device ?? null
}

export function isStageOf(plan: RingPlan | null, device: string): boolean {
  return plan?.stages.some((stage) => stage.device === device) ?? false
}

/** Layers that come to this device, and who has them by the plan before. */
function sourcesOf(
  { spans, self }: Routes,
  { stages }: RingPlan,
): ReadonlyMap<number, string> {
  const sources = new Map<number, string>()
  for (const layer of spans.flatMap(({ layers }) => layers)) {
    const holder = stages.find(({ from, to }) => layer >= from && layer < to)?.device
    if (holder !== undefined && holder !== self) sources.set(layer, holder)
  }
  return sources
}
