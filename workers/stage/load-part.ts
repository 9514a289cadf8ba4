/** Loads what a plan gives this device: engine and mode chosen, checked, measured. */
import { modelCosts, type ModelCosts } from '../../model-split/plan/costs.ts'
import { weightBytes } from '../../model-split/plan/memory.ts'
import { LEAST_ROWS, PLANNED_ROWS } from '../../model-split/plan/reserve.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import type { Span } from '../../model-split/span.ts'
import type { Clock } from '../ring/clock.ts'
import { routesOf } from '../ring/routes.ts'
import { spansOf, type RingPlan, type RingStage } from '../ring/types.ts'
import type { OpenOptions, PrepareReport } from './api.ts'
import { runCanary, type CanaryFigures } from './canary.ts'
import { Speed } from './speed.ts'
import { StageError, type Engine, type EngineKind } from './types.ts'
import type { LoadProgress, ShardReader, WeightMode } from './types.ts'

/** Effects and late imports, injected. */
export interface StageParts {
  /**
   * Fetches the runtime and makes an empty engine.
   * @throws Error where this browser cannot run it.
   */
  engine(kind: EngineKind, threads: number): Promise<Engine>
  /** Null where WebGPU can be tried, else one sentence why not. */
  webgpuMissing(): Promise<string | null>
  reader(options: OpenOptions): Promise<ShardReader>
  readonly clock: Clock
}

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
  readonly report: PrepareReport
  /** Cache bytes of one row of one sequence. */
  readonly rowBytes: number
  readonly speed: Speed
}

/** How the loading part gets on with what already runs. */
export interface LoadContext {
  /** Weight bytes of the running plan. */
  readonly held: number
  /** Drops the running plan. */
  readonly makeRoom: () => Promise<void>
  readonly onProgress: (progress: LoadProgress) => void
  readonly signal: AbortSignal
}

/** Fastest first. WASM has no fast kernel for packed weights, WebGPU has. */
const MODES: Readonly<Record<EngineKind, readonly WeightMode[]>> = {
  wasm: ['dense', 'lean', 'packed'],
  webgpu: ['packed', 'lean', 'dense'],
}

/** Of an engine that holds one plan. */
export const LAYOUT = 1

const costsOf = new WeakMap<Manifest, ModelCosts>()

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

/** @throws StageError with one sentence for people. */
export async function loadPart(
  parts: StageParts,
  options: OpenOptions,
  wanted: WantedPart,
  context: LoadContext,
): Promise<LoadedPart> {
  const { manifest } = options
  const costs = costsOf.get(manifest) ?? modelCosts(manifest)
  costsOf.set(manifest, costs)
  const { stage } = wanted
  const rows = costs.rowBytes.slice(stage.from, stage.to)
  const rowBytes = rows.reduce((sum, bytes) => sum + bytes, 0)
  const missing = options.engine === 'wasm' ? null : await parts.webgpuMissing()
  const kinds: EngineKind[] =
    options.engine === 'wasm' || missing !== null ? ['wasm'] : ['webgpu', 'wasm']
  let { held } = context
  let fallback = missing
  for (const kind of kinds) {
    const mode = modeFor(kind, options, costs, wanted, rowBytes)
    const bytes = bytesOf(costs, mode, wanted)
    if (held > 0 && held + bytes > options.memoryBudget) {
      await context.makeRoom()
      held = 0
    }
    const load = () => loadEngine(parts, options, wanted, context, kind, mode)
    try {
      const { engine, figures } = await load().catch(async (error: unknown) => {
        const full = error instanceof StageError && error.code === 'out-of-memory'
        if (!full || held === 0) throw error
        await context.makeRoom()
        held = 0
        return load()
      })
      const speed = new Speed(manifest, wanted.spans)
      const report: PrepareReport = {
        engine: kind,
        mode,
        msPerLayer: msPerLayer(figures, costs),
        msStarter: wanted.starter ? figures.msStarter : null,
        memory: engine.memory(),
        fallback,
      }
      return { key: wanted.key, engine, report, rowBytes, speed }
    } catch (error) {
      if (context.signal.aborted || kind === 'wasm') throw error
      fallback = `WebGPU does not serve here: ${sentence(error)}`
    }
  }
  throw new StageError('internal', 'This browser cannot run the model.')
}

async function loadEngine(
  parts: StageParts,
  options: OpenOptions,
  { spans }: WantedPart,
  { onProgress, signal }: LoadContext,
  kind: EngineKind,
  mode: WeightMode,
): Promise<{ engine: Engine; figures: CanaryFigures }> {
  const { manifest, threads } = options
  const reader = await parts.reader(options)
  signal.throwIfAborted()
  const engine = await parts.engine(kind, threads)
  try {
    await engine.load({
      layout: LAYOUT,
      manifest,
      reader,
      spans,
      mode,
      onProgress,
      signal,
    })
    const golden = await reader.file(manifest.golden.file)
    const clock = (): number => parts.clock.now()
    const subject = { engine, layout: LAYOUT, manifest, golden, spans }
    const verdict = await runCanary({ ...subject, clock, signal })
    if (verdict.kind !== 'ok') throw new StageError('wrong-result', verdict.message)
    return { engine, figures: verdict }
  } catch (error) {
    await engine.release().catch(() => undefined)
    throw error
  }
}

/** The fastest mode that fits; @throws StageError `out-of-memory` where none does. */
function modeFor(
  kind: EngineKind,
  { mode, manifest, memoryBudget }: OpenOptions,
  costs: ModelCosts,
  wanted: WantedPart,
  rowBytes: number,
): WeightMode {
  if (mode !== 'auto') return mode
  // Weights that are not quantised have one form only.
  if (Object.values(manifest.blobs).every(({ quantised }) => quantised.length === 0))
    return 'packed'
  const roomAt = (rows: number): number => memoryBudget - rowBytes * rows
  for (const rows of [PLANNED_ROWS, LEAST_ROWS]) {
    const fitting = MODES[kind].find(
      (each) => bytesOf(costs, each, wanted) <= roomAt(rows),
    )
    if (fitting) return fitting
  }
  const room = roomAt(LEAST_ROWS)
  const least = Math.min(...MODES[kind].map((each) => bytesOf(costs, each, wanted)))
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

/** A starter without layers is judged by what it does. */
function msPerLayer(
  { msPerLayer: ms, msStarter }: CanaryFigures,
  costs: ModelCosts,
): number {
  if (Number.isFinite(ms)) return ms
  return costs.starterWork > 0 ? (msStarter ?? 0) / costs.starterWork : 0
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : 'it does not start.'
}
