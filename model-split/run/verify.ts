/** Compares a cut with the uncut model: same runtime, same kernels, so the same logits. */
import type { CutResult } from '../cut/cut.ts'
import { runtimeError } from '../cut/measure.ts'
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

/**
 * Largest difference of a logit that counts as equal. Without graph optimisations every
 * kernel sees the same numbers: no difference at all. A graph that opens only with them is
 * fused differently when cut, and its half precision casts fall elsewhere.
 */
export const BOUNDS: Readonly<Record<Optimisation, number>> = {
  disabled: 0,
  basic: 0.01,
  extended: 0.01,
  all: 0.01,
}

export interface VerifyReport {
  readonly exact: boolean
  readonly largest: number
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
  const { manifest } = files
  const { optimisation } = cut
  onProgress('running the uncut model')
  const uncut = await openUncut(source, cut.file, manifest, optimisation)
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
  const chains = chainsOf(manifest.layers)
  const sessions = new Sessions(files, optimisation)
  let largest = 0
  let worst = ''
  for (const [i, spans] of chains.entries()) {
    onProgress(
      `chain ${i + 1}/${chains.length}: ${describe(spans)}, largest difference ${largest}`,
    )
    const chain = new Chain(manifest, await sessions.open(spans))
    chain.reset()
    for (const [step, ids] of fed.entries()) {
      const off = difference(await chain.step(ids), expected[step] ?? new Float32Array())
      if (off > largest || Number.isNaN(off)) [largest, worst] = [off, describe(spans)]
    }
    await sessions.close()
  }
  await sessions.release()
  const bound = BOUNDS[optimisation]
  const exact = largest <= bound
  const why =
    bound === 0
      ? ''
      : ` (the runtime opens this graph with optimisations only: bound ${bound})`
  const sample =
    manifest.layers > EXHAUSTIVE_LAYERS
      ? 'every single layer and a sample of spans'
      : 'every split into 2 and 3 spans'
  return {
    exact,
    largest,
    chains: chains.length,
    summary: `verified ${chains.length} chains (${sample}): largest difference of a logit ${largest}${why}`,
    complaint: `The cut model differs from the uncut one by ${largest} in the chain ${worst}, more than ${bound}; nothing was written.`,
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

function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return NaN
  let most = 0
  for (let i = 0; i < a.length; i++) {
    const off = Math.abs((a[i] ?? 0) - (b[i] ?? 0))
    if (!(off <= most)) most = off
    if (Number.isNaN(most)) return NaN
  }
  return most
}
