/** Loads layouts into an engine, and checks them before they may serve. */
import type { Span } from '../../model-split/span.ts'
import { LEAST_ROWS } from '../../model-split/plan/reserve.ts'
import type { Clock } from '../ring/clock.ts'
import type { OpenOptions } from './api.ts'
import { without } from './divide.ts'
import { runCanary, type CanaryFigures } from './canary.ts'
import { FallbackEngine, type Replacement } from './fallback-engine.ts'
import { StageError, type Engine, type EngineKind } from './types.ts'
import type { LoadOptions, LoadProgress, ShardReader, WeightMode } from './types.ts'
import { addedBytes, modesOf } from './weight-modes.ts'

export interface WantedEngine {
  readonly kind: EngineKind
  /** Of the weights that it will hold. */
  readonly mode: WeightMode
  readonly threads: number
}

/** Effects and late imports, injected. */
export interface StageParts {
  /**
   * Fetches the runtime and makes an empty engine.
   * @throws Error where this browser cannot run it.
   */
  engine(wanted: WantedEngine): Promise<Engine>
  /** Null where WebGPU is worth trying for the model, else one sentence why not. */
  webgpuMissing(options: OpenOptions): Promise<string | null>
  reader(options: OpenOptions): Promise<ShardReader>
  readonly clock: Clock
}

/** Layouts of all engines have different numbers. */
let layouts = 0

interface Watch {
  readonly onProgress: (progress: LoadProgress) => void
  readonly signal: AbortSignal
}

export interface Loaded {
  readonly engine: Engine
  readonly layout: number
  readonly order: LoadOptions
  /** Of what was not checked before; null: all was. */
  readonly figures: CanaryFigures | null
}

export interface Choice {
  readonly kind: EngineKind
  readonly mode: WeightMode
  /** Null: a new one. */
  readonly engine: Engine | null
  /** They only rest. */
  readonly dormant?: boolean
  /** What was checked in that engine and stays, a session for each layer. */
  readonly checked?: readonly Span[]
}

/**
 * Loads spans, checked by the canary.
 * @throws StageError
 */
export async function loadLayouts(
  parts: StageParts,
  options: OpenOptions,
  spans: readonly Span[],
  watch: Watch,
  { kind, mode, engine: shared, dormant = false, checked = [] }: Choice,
): Promise<Loaded> {
  const { manifest, threads } = options
  const reader = await parts.reader(options)
  watch.signal.throwIfAborted()
  const engine = shared ?? (await parts.engine({ kind, mode, threads }))
  const layout = ++layouts
  const order: LoadOptions = { layout, manifest, reader, spans, mode, dormant }
  const fresh = without(spans, checked)
  const isPartly = checked.length > 0 && fresh.length > 0
  // Only what is new is checked, in a layout of its own: the rest answers meanwhile.
  const apart = isPartly ? { ...order, layout: ++layouts, spans: fresh } : null
  const first = fresh.length > 0 ? [apart ?? order] : []
  const loaded: LoadOptions[] = []
  try {
    const [figures = null] = await loadChecked(parts, engine, first, watch, loaded)
    if (!loaded.includes(order)) {
      await engine.load({ ...order, ...watch })
      loaded.push(order)
    }
    if (apart) await engine.unload(apart.layout)
    return { engine, layout, order, figures }
  } catch (error) {
    if (!shared) await engine.release().catch(() => undefined)
    else for (const each of loaded) await engine.unload(each.layout)
    throw error
  }
}

/** @param loaded gets what is loaded, checked or not. */
async function loadChecked(
  parts: StageParts,
  engine: Engine,
  orders: readonly LoadOptions[],
  { onProgress, signal }: Watch,
  loaded: LoadOptions[],
): Promise<CanaryFigures[]> {
  const clock = (): number => parts.clock.now()
  const all: CanaryFigures[] = []
  for (const order of orders) {
    const { layout, manifest, reader, spans } = order
    const golden = await reader.file(manifest.golden.file)
    await engine.load({ ...order, onProgress, signal })
    loaded.push(order)
    const subject = { engine, layout, manifest, golden, spans }
    const verdict = await runCanary({ ...subject, clock, signal })
    if (verdict.kind !== 'ok') throw new StageError('wrong-result', verdict.message)
    all.push(verdict)
  }
  return all
}

/** For a graphics chip that may be lost while it serves. */
export function withFallback(
  parts: StageParts,
  options: OpenOptions,
  { engine: first, order }: Loaded,
  onReplaced: (engine: Engine, mode: WeightMode) => void,
  rowBytes: number,
): Engine {
  const replace = async (all: readonly LoadOptions[]): Promise<Replacement> => {
    const layouts = all.filter(({ dormant }) => !dormant)
    const spans = layouts.flatMap((each) => each.spans)
    const most = options.memoryBudget - rowBytes * LEAST_ROWS
    const { mode: asked, threads } = options
    const modes = asked === 'auto' ? modesOf('wasm') : [asked]
    const fits = (mode: WeightMode): boolean =>
      addedBytes(options.manifest, mode, spans, []) <= most
    const mode = modes.find(fits)
    if (!mode)
      throw new StageError('out-of-memory', 'The processor has too little memory.')
    const engine = await parts.engine({ kind: 'wasm', mode, threads })
    const watch = { onProgress: () => undefined, signal: new AbortController().signal }
    try {
      const again = layouts.map((each) => ({ ...each, mode }))
      await loadChecked(parts, engine, again, watch, [])
      return { engine, mode }
    } catch (error) {
      await engine.release().catch(() => undefined)
      throw error
    }
  }
  const fallback: FallbackEngine = new FallbackEngine({
    first,
    layouts: [order],
    replace,
    onReplaced: (mode) => onReplaced(fallback, mode),
  })
  return fallback
}
