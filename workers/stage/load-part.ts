/** Loads what a plan gives this device: engine and mode chosen, checked, measured. */
import { modelCosts, type ModelCosts } from '../../model-split/plan/costs.ts'
import { weightBytes } from '../../model-split/plan/memory.ts'
import { LEAST_ROWS, PLANNED_ROWS } from '../../model-split/plan/reserve.ts'
import type { Span } from '../../model-split/span.ts'
import { routesOf } from '../ring/routes.ts'
import { spansOf, type RingPlan, type RingStage } from '../ring/types.ts'
import type { OpenOptions, PrepareReport } from './api.ts'
import type { CanaryFigures } from './canary.ts'
import {
  loadLayouts,
  withFallback,
  type Loaded,
  type StageParts,
} from './load-layouts.ts'
import type { OverlapLayers } from './overlap-layers.ts'
import { Speed } from './speed.ts'
import { StageError, type Engine, type EngineKind } from './types.ts'
import type { LoadProgress, WeightMode } from './types.ts'
import { addedBytes, modesOf } from './weight-modes.ts'

/** What a device is to run, whatever the epoch. */
export interface WantedPart {
  readonly key: string
  readonly stage: RingStage
  readonly starter: boolean
  readonly spans: readonly Span[]
}

export interface LoadedPart {
  readonly key: string
  readonly engine: Engine
  /** What the engine loaded for the part. */
  readonly layout: number
  readonly spans: readonly Span[]
  /** Of the engine that runs now. */
  report: PrepareReport
  /** Cache bytes of one row of one sequence. */
  readonly rowBytes: number
  readonly speed: Speed
}

/** How the loading part gets on with what already runs. */
export interface LoadContext {
  /** Parts that are loaded, the running one first. */
  readonly loaded: readonly LoadedPart[]
  /** Layers that only rest there. */
  readonly overlap: Pick<OverlapLayers, 'in' | 'drop'>
  /** Drops all parts. */
  readonly makeRoom: () => Promise<void>
  /** Later, while the engine serves: it runs elsewhere now, with weights of this mode. */
  readonly onReplaced: (engine: Engine, mode: WeightMode) => void
  readonly onProgress: (progress: LoadProgress) => void
  readonly signal: AbortSignal
}

/**
 * Null where the plan gives the device nothing.
 * @throws Error where the plan does not fit the model.
 */
export function partOf(
  { manifest, self, engine, mode, threads, memoryBudget }: OpenOptions,
  plan: RingPlan,
): WantedPart | null {
  // Refused here, where the room can still make another.
  routesOf(manifest, plan, self)
  const index = plan.stages.findIndex(({ device }) => device === self)
  const stage = plan.stages[index]
  if (!stage) return null
  const spans = spansOf(plan, index, manifest.layers)
  const key = JSON.stringify([spans, engine, mode, threads, memoryBudget])
  return { key, stage, starter: index === 0, spans }
}

/** Frees what nobody else needs. */
export async function releasePart(
  { engine, layout }: LoadedPart,
  others: Iterable<LoadedPart>,
): Promise<void> {
  if ([...others].some((other) => other.engine === engine)) await engine.unload(layout)
  else await engine.release()
}

/**
 * Loads beside what runs where memory allows: as further layouts of its engine where kind and
 * mode stay, so that layers and their caches are shared.
 * @throws StageError with one sentence for people.
 */
export async function loadPart(
  parts: StageParts,
  options: OpenOptions,
  wanted: WantedPart,
  context: LoadContext,
): Promise<LoadedPart> {
  const { manifest } = options
  const costs = modelCosts(manifest)
  const { stage } = wanted
  const rows = costs.rowBytes.slice(stage.from, stage.to)
  const rowBytes = rows.reduce((sum, bytes) => sum + bytes, 0)
  let loaded = context.loaded
  const makeRoom = async (): Promise<void> => {
    await context.makeRoom()
    loaded = []
  }
  // What did not serve here before is not tried again.
  const before = loaded[0]?.report
  const noWebGpu = options.engine === 'wasm' || before?.engine === 'wasm'
  const missing = noWebGpu ? null : await parts.webgpuMissing(options)
  const kinds: EngineKind[] = noWebGpu || missing !== null ? ['wasm'] : ['webgpu', 'wasm']
  let fallback = missing ?? before?.fallback ?? null
  for (const kind of kinds) {
    const preferred = before?.engine === kind ? before.mode : null
    const mode = modeFor(kind, options, costs, wanted, rowBytes, preferred)
    const load = async (): Promise<Loaded> => {
      const base = loaded.find(({ report: r }) => r.engine === kind && r.mode === mode)
      const shared = loaded.filter(({ engine }) => engine === base?.engine)
      const resting = context.overlap.in(base?.engine)
      const own = shared.flatMap((part) => part.spans)
      const there = kind === 'wasm' ? [...own, ...resting] : []
      const free = options.memoryBudget - heldBytes(loaded)
      const bytes = addedBytes(manifest, mode, wanted.spans, there)
      if (loaded.length > 0 && bytes > free) {
        if (resting.length > 0) await context.overlap.drop()
        else await makeRoom()
        return load()
      }
      // Of a plan that is over layers may go at any time; those that run stay.
      const checked = kind === 'wasm' ? [...(shared[0]?.spans ?? []), ...resting] : []
      const choice = { kind, mode, engine: base?.engine ?? null, checked }
      const found = await loadLayouts(parts, options, wanted.spans, context, choice)
      if (kind === 'wasm' || choice.engine) return found
      return {
        ...found,
        engine: withFallback(parts, options, found, context.onReplaced, rowBytes),
      }
    }
    try {
      const { engine, layout, figures } = await load().catch(async (error: unknown) => {
        const full = error instanceof StageError && error.code === 'out-of-memory'
        if (!full || loaded.length === 0) throw error
        await makeRoom()
        return load()
      })
      const speed = new Speed(manifest, wanted.spans)
      const shared = loaded.filter((part) => part.engine === engine)
      const report: PrepareReport = {
        engine: kind,
        mode,
        // The canary had to wait for the answers that are running.
        msPerLayer: shared[0]?.speed.msPerLayer ?? msPerLayer(figures, shared, costs),
        msStarter: wanted.starter ? msStarter(figures, shared) : null,
        memory: engine.memory(),
        fallback,
      }
      const { key, spans } = wanted
      return { key, engine, layout, spans, report, rowBytes, speed }
    } catch (error) {
      if (context.signal.aborted || kind === 'wasm') throw error
      fallback = `The model runs on the processor, not on the graphics chip: ${sentence(error)}`
    }
  }
  throw new StageError('internal', 'This browser cannot run the model.')
}

function heldBytes(loaded: readonly LoadedPart[]): number {
  const engines = [...new Set(loaded.map(({ engine }) => engine))]
  return engines.reduce((sum, engine) => sum + engine.memory().weights, 0)
}

/**
 * The fastest mode that fits; one that is preferred because it runs already if it does.
 * @throws StageError `out-of-memory` where none does.
 */
function modeFor(
  kind: EngineKind,
  { mode, manifest, memoryBudget }: OpenOptions,
  costs: ModelCosts,
  wanted: WantedPart,
  rowBytes: number,
  preferred: WeightMode | null,
): WeightMode {
  if (mode !== 'auto') return mode
  // Weights that are not quantised have one form only.
  if (Object.values(manifest.blobs).every(({ quantised }) => quantised.length === 0))
    return 'packed'
  const modes = modesOf(kind)
  const roomAt = (rows: number): number => memoryBudget - rowBytes * rows
  for (const rows of [PLANNED_ROWS, LEAST_ROWS]) {
    const order = preferred ? [preferred, ...modes] : modes
    const fitting = order.find((each) => bytesOf(costs, each, wanted) <= roomAt(rows))
    if (fitting) return fitting
  }
  const room = roomAt(LEAST_ROWS)
  const least = Math.min(...modes.map((each) => bytesOf(costs, each, wanted)))
  const missing = ((least - room) / 2 ** 30).toFixed(2)
  throw new StageError(
    'out-of-memory',
    `This phone is short by ${missing} GB for its layers; let it lend more memory.`,
  )
}

function bytesOf(
  costs: ModelCosts,
  mode: WeightMode,
  { stage, starter }: WantedPart,
): number {
  return weightBytes(costs, mode, stage.from, stage.to, starter)
}

/** As measured now or before. A starter without layers is judged by what it does. */
function msPerLayer(
  figures: CanaryFigures | null,
  [before]: readonly LoadedPart[],
  costs: ModelCosts,
): number {
  if (figures && Number.isFinite(figures.msPerLayer)) return figures.msPerLayer
  if (before) return before.report.msPerLayer
  return costs.starterWork > 0 ? (figures?.msStarter ?? 0) / costs.starterWork : 0
}

/** The ends were checked and measured, now or before. */
function msStarter(
  figures: CanaryFigures | null,
  shared: readonly LoadedPart[],
): number | null {
  const before = shared.find(({ report }) => report.msStarter !== null)
  return figures?.msStarter ?? before?.speed.msStarter ?? before?.report.msStarter ?? null
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : 'it does not start.'
}
