/** Compares a cut with the uncut model: same runtime, same kernels, so the same logits. */
import { isMerged } from '../cut/branches.ts'
import type { CutResult } from '../cut/cut.ts'
import { runtimeError } from '../cut/measure.ts'
import type { Manifest } from '../manifest.ts'
import { readModel } from '../onnx/read.ts'
import type { Span } from '../span.ts'
import type { ModelSource } from '../source/source.ts'
import { argmax, Chain, lastRow, type ChainLink } from './chain.ts'
import { openCutFolder } from './folder.ts'
import { openSpan, type CutFiles, type Optimisation } from './runner.ts'
import { openUncut } from './uncut.ts'

const DECODE_STEPS = 5
/** Up to this many layers every split into two and three spans is run. */
const EXHAUSTIVE_LAYERS = 8
/** Sessions are kept for several chains while the weights are small, in bytes. */
const KEEP_BYTES = 32e6

/** Largest difference where half precision is rounded at borders, as a part of the largest logit. */
const HALF_BOUND = 0.01

/**
 * Largest difference of a logit that counts as equal. Without graph optimisations every
 * kernel sees the same numbers: no difference at all. The runtime computes much of a half
 * precision graph in fp32 and rounds where it must, at every border for one; a graph that
 * opens only with optimisations is fused differently when cut.
 */
export function boundOf(
  manifest: Manifest,
  optimisation: Optimisation,
  largestLogit: number,
): number {
  const half = Object.values(manifest.tensors).some(({ dtype }) => dtype === 'float16')
  return half || optimisation !== 'disabled' ? HALF_BOUND * largestLogit : 0
}

export interface VerifyReport {
  readonly exact: boolean
  readonly largest: number
  readonly bound: number
  readonly chains: number
  /** One line for people. */
  readonly summary: string
  readonly complaint: string
}

export async function verifyCut(
  source: ModelSource,
  folder: string,
  cut: CutResult,
  onProgress: (line: string) => void,
): Promise<VerifyReport> {
  const files = await openCutFolder(folder)
  const compare = (optimisation: Optimisation): Promise<VerifyReport> =>
    compareWithUncut(source, cut.file, files, optimisation, onProgress)
  if (cut.optimisation !== 'disabled') return compare(cut.optimisation)
  // A graph whose single segments open without optimisations may need them as a whole.
  return compare('disabled').catch((failure: unknown) =>
    compare('basic').catch(() => {
      throw failure
    }),
  )
}

async function compareWithUncut(
  source: ModelSource,
  file: string,
  files: CutFiles,
  optimisation: Optimisation,
  onProgress: (line: string) => void,
): Promise<VerifyReport> {
  const { manifest } = files
  onProgress('running the uncut model')
  const uncut = await openUncut(source, file, manifest, optimisation)
  const expected: (Float32Array | Float64Array)[] = []
  const fed: number[][] = []
  try {
    for (let step = 0, ids = [...manifest.golden.ids]; step <= DECODE_STEPS; step++) {
      fed.push(ids)
      const results = await uncut.run(ids.length, new Map(), ids)
      const logits = lastRow(results.get(manifest.logits.name))
      expected.push(logits)
      ids = [argmax(logits)]
    }
  } catch (error) {
    throw runtimeError(error)
  } finally {
    await uncut.release()
  }
  const first = expected[0] ?? new Float32Array()
  const branches = await betweenBranches(source, file, manifest, optimisation, first)
  const chains = chainsOf(manifest.layers)
  const sessions = new Sessions(files, optimisation)
  let largest = 0
  let worst = ''
  for (const [i, spans] of chains.entries()) {
    onProgress(`verifying chain ${i + 1}/${chains.length}: ${describe(spans)}`)
    const chain = new Chain(manifest, await sessions.open(spans))
    chain.reset()
    for (const [step, ids] of fed.entries()) {
      const off = difference(await chain.step(ids), expected[step] ?? new Float32Array())
      if (off > largest || Number.isNaN(off)) [largest, worst] = [off, describe(spans)]
    }
    await sessions.close()
  }
  await sessions.release()
  const bound = boundOf(manifest, optimisation, largestOf(expected))
  const loose = HALF_BOUND * largestOf([first])
  const exact = largest <= bound && branches <= loose
  const reason =
    optimisation === 'disabled'
      ? 'half precision is rounded at borders'
      : 'the runtime opens this graph with optimisations only'
  const why = bound === 0 ? '' : ` (bound ${bound.toPrecision(2)}, as ${reason})`
  const sample =
    manifest.layers > EXHAUSTIVE_LAYERS
      ? 'every single layer and a sample of spans'
      : 'every split into 2 and 3 spans'
  return {
    exact,
    largest,
    bound,
    chains: chains.length,
    summary: `verified ${chains.length} chains (${sample}): largest difference of a logit ${largest}${why}`,
    complaint:
      branches > loose
        ? `The model's branch for an empty cache differs by ${branches} from the one with past, which is cut; nothing was written.`
        : `The cut model differs from the uncut one by ${largest} in the chain ${worst}, more than ${bound.toPrecision(2)}; nothing was written.`,
  }
}

/** How far the first logits of a merged model's two branches are apart; 0 for any other. */
async function betweenBranches(
  source: ModelSource,
  file: string,
  manifest: Manifest,
  optimisation: Optimisation,
  past: Float32Array | Float64Array,
): Promise<number> {
  if (!isMerged((await readModel(source, file)).graph)) return 0
  const { ids } = manifest.golden
  const uncut = await openUncut(source, file, manifest, optimisation, 'empty')
  try {
    const results = await uncut.run(ids.length, new Map(), ids)
    return difference(lastRow(results.get(manifest.logits.name)), past)
  } catch (error) {
    throw runtimeError(error)
  } finally {
    await uncut.release()
  }
}

/** Opened spans; kept from chain to chain where the model is small. */
class Sessions {
  private readonly opened = new Map<string, ChainLink>()
  private readonly keep: boolean

  constructor(
    private readonly files: CutFiles,
    private readonly optimisation: Optimisation,
  ) {
    const { shards } = files.manifest
    this.keep =
      Object.values(shards).reduce((sum, shard) => sum + shard.bytes, 0) < KEEP_BYTES
  }

  async open(spans: readonly Span[]): Promise<ChainLink[]> {
    const links: ChainLink[] = []
    for (const span of spans) {
      const key = JSON.stringify(span)
      const link =
        this.opened.get(key) ??
        (await openSpan(this.files, span, { optimisation: this.optimisation }))
      this.opened.set(key, link)
      links.push(link)
    }
    return links
  }

  async close(): Promise<void> {
    if (!this.keep) await this.release()
  }

  async release(): Promise<void> {
    for (const { runner } of this.opened.values()) await runner.release()
    this.opened.clear()
  }
}

/** The chains that a check runs: whole, split, and with the starter's two ends apart. */
export function chainsOf(layers: number): Span[][] {
  const at = (...cuts: number[]): Span[] => {
    const borders = [0, ...cuts, layers]
    return borders.slice(1).map((to, i) => ({
      from: borders[i] ?? 0,
      to,
      embed: i === 0,
      head: i === borders.length - 2,
    }))
  }
  const inner = Array.from({ length: layers - 1 }, (_, i) => i + 1)
  const starter: Span[] = [
    { from: 0, to: 0, embed: true, head: false },
    ...at(...inner).map((span) => ({ ...span, embed: false, head: false })),
    { from: layers, to: layers, embed: false, head: true },
  ]
  if (layers <= EXHAUSTIVE_LAYERS) {
    const three = inner.flatMap((a) => inner.filter((b) => b > a).map((b) => at(a, b)))
    return [at(), ...inner.map((a) => at(a)), ...three, starter]
  }
  const third = Math.floor(layers / 3)
  const half = Math.floor(layers / 2)
  return [
    at(),
    starter,
    at(1),
    at(half),
    at(layers - 1),
    at(third, 2 * third),
    at(1, layers - 1),
    at(half, half + 1),
  ]
}

function describe(spans: readonly Span[]): string {
  return spans.map(({ from, to }) => `${from}-${to}`).join(',')
}

/** The largest finite number in size. */
function largestOf(rows: readonly (Float32Array | Float64Array)[]): number {
  let most = 0
  for (const row of rows)
    for (const value of row)
      if (Number.isFinite(value)) most = Math.max(most, Math.abs(value))
  return most
}

function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return NaN
  let most = 0
  for (let i = 0; i < a.length; i++) {
    // Equal infinities (tokens that may never come) do not differ.
    const off = a[i] === b[i] ? 0 : Math.abs((a[i] ?? 0) - (b[i] ?? 0))
    if (!(off <= most)) most = off
    if (Number.isNaN(most)) return NaN
  }
  return most
}
