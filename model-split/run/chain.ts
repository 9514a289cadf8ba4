/** A row of spans in one process: what the ring does, without links. */
import type { Filled } from '../link/fill.ts'
import type { LinkedSpan } from '../link/link.ts'
import type { Manifest } from '../manifest.ts'
import type { Span } from '../span.ts'
import {
  floats,
  openSpan,
  type CutFiles,
  type GraphRunner,
  type Optimisation,
} from './runner.ts'

export interface ChainLink {
  readonly runner: GraphRunner
  readonly linked: LinkedSpan
}

export class Chain {
  constructor(
    private readonly manifest: Manifest,
    private readonly links: readonly ChainLink[],
  ) {}

  static async open(
    files: CutFiles,
    spans: readonly Span[],
    optimisation: Optimisation,
  ): Promise<Chain> {
    const links: ChainLink[] = []
    for (const span of spans) links.push(await openSpan(files, span, { optimisation }))
    return new Chain(files.manifest, links)
  }

  /** Runs the ids after those that are cached; gives the logits of the last one. */
  async step(ids: readonly number[]): Promise<Float32Array | Float64Array> {
    const values = new Map<string, Filled>()
    for (const { runner, linked } of this.links) {
      const inputs = new Map<string, Filled>()
      for (const name of Object.keys(linked.inputs)) {
        const value = values.get(name)
        if (!value)
          throw new Error(`The spans do not follow one another: ${name} is missing.`)
        inputs.set(name, value)
      }
      for (const [name, value] of await runner.run(ids.length, inputs, ids))
        values.set(name, value)
    }
    return lastRow(values.get(this.manifest.logits.name))
  }

  reset(): void {
    this.links.forEach(({ runner }) => runner.reset())
  }

  async release(): Promise<void> {
    for (const { runner } of this.links) await runner.release()
  }
}

/** The last row of logits `[1, S or 1, V]`. */
export function lastRow(logits: Filled | undefined): Float32Array | Float64Array {
  const wide = logits?.dims.at(-1)
  if (!logits || wide === undefined) throw new Error('No span gave logits.')
  return floats(logits).slice(-wide)
}

/** The index of the largest number; the lowest one of equals. */
export function argmax(logits: ArrayLike<number>): number {
  let best = 0
  for (let i = 1; i < logits.length; i++)
    if ((logits[i] ?? 0) > (logits[best] ?? 0)) best = i
  return best
}

/**
 * Spans as people write them, "0-2,2-4": layers, the embedding with the first and the head
 * with the last.
 * @throws Error when they do not cover the layers one after another.
 */
export function parseSpans(text: string, layers: number): Span[] {
  const parts = text.split(',').map((part) => /^\s*(\d+)-(\d+)\s*$/.exec(part))
  const spans = parts.map((match, i): Span => {
    if (!match) throw new Error(`"${text}" is not a list of spans like 0-2,2-${layers}.`)
    const [from, to] = [Number(match[1]), Number(match[2])]
    return { from, to, embed: i === 0, head: i === parts.length - 1 }
  })
  const follow = spans.every(
    (span, i) => span.from === (spans[i - 1]?.to ?? 0) && span.to > span.from,
  )
  if (!follow || spans.at(-1)?.to !== layers)
    throw new Error(
      `The spans ${text} do not cover the layers 0-${layers} one after another; write them like 0-2,2-${layers}.`,
    )
  return spans
}
