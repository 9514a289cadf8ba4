/**
 * Runs a freshly cut model segment by segment, so that a model of any size needs the memory
 * of one segment. Fills in what only a run can tell: shapes of border tensors and caches, the
 * shape inputs, the golden hidden states.
 */
import type { Affine, Cache, Feed, Manifest } from '../manifest.ts'
import { graphField } from '../link/wire.ts'
import type { Filled } from '../link/fill.ts'
import { ModelError } from '../onnx/error.ts'
import type { OnnxNode } from '../onnx/types.ts'
import { lastRow } from '../run/chain.ts'
import {
  floats,
  openSpan,
  type CutFiles,
  type GraphRunner,
  type Optimisation,
} from '../run/runner.ts'
import { fitAffine, PROBES, type Sample } from './affine.ts'

/**
 * Further apart than this, rows at once are another answer than row by row. Numbers that are
 * quantised as the model runs are rounded together, to 3 % of them.
 */
const ROWS_BOUND = 0.2

export interface OwnedShape {
  readonly node: OnnxNode
  /** The segment where its operand exists. */
  readonly owner: number
}

export interface Measured {
  readonly manifest: Manifest
  readonly golden: Uint8Array
  readonly optimisation: Optimisation
}

/**
 * @param draft manifest whose tensor and feed shapes are still empty.
 * @param shapes shape nodes that become inputs.
 * @param ids the golden prompt; its length is that of the first probe.
 */
export async function measure(
  draft: Manifest,
  files: (manifest: Manifest) => CutFiles,
  shapes: readonly OwnedShape[],
  ids: readonly number[],
  onSegment: (segment: number, segments: number) => void,
): Promise<Measured> {
  const lab = new Lab(draft, files, shapes, ids)
  for (let segment = 0; segment < draft.segments.length; segment++) {
    onSegment(segment, draft.segments.length)
    await lab.measureSegment(segment)
  }
  return {
    manifest: lab.manifest,
    golden: lab.goldenBytes(),
    optimisation: lab.optimisation,
  }
}

class Lab {
  optimisation: Optimisation = 'disabled'
  /** Values of every border tensor, by probe group and run. */
  private readonly values = PROBES.map((group) =>
    group.map(() => new Map<string, Filled>()),
  )
  private readonly golden: Uint8Array[] = []
  private goldenLength = 0

  constructor(
    public manifest: Manifest,
    private readonly files: (manifest: Manifest) => CutFiles,
    private readonly shapes: readonly OwnedShape[],
    private readonly ids: readonly number[],
  ) {}

  goldenBytes(): Uint8Array {
    const bytes = new Uint8Array(this.goldenLength)
    let at = 0
    for (const part of this.golden) {
      bytes.set(part, at)
      at += part.length
    }
    return bytes
  }

  async measureSegment(segment: number): Promise<void> {
    const { layers } = this.manifest
    const own = this.shapes.filter(({ owner }) => owner === segment)
    const ownNames = own.flatMap(({ node }) => node.outputs)
    const runner = await this.open(
      segment,
      own.map(({ node }) => node),
      ownNames,
    )
    const span = this.manifest.segments[segment]
    const samples = new Map<
      string,
      { dims: number[]; data: number[] | null; probe: number; run: number }[]
    >()
    const note = (
      name: string,
      dims: readonly number[],
      data: number[] | null,
      probe: number,
      run: number,
    ): void => {
      const list = samples.get(name) ?? []
      list.push({ dims: [...dims], data, probe, run })
      samples.set(name, list)
    }
    for (const [probe, group] of PROBES.entries()) {
      const several = group.some(({ batch }) => batch > 1)
      if (several && !this.manifest.batch) continue
      runner.reset()
      try {
        for (const [run, { batch, rows }] of group.entries()) {
          const known = this.values[probe]?.[run] ?? new Map<string, Filled>()
          const inputs = new Map(
            [...known].filter(([name]) =>
              this.manifest.tensors[name]?.to.includes(segment),
            ),
          )
          const outputs = await runner.run(
            rows,
            inputs,
            this.idsFor(batch, rows, run),
            batch,
          )
          for (const [name, value] of outputs) {
            note(
              name,
              value.dims,
              ownNames.includes(name) ? integers(value) : null,
              probe,
              run,
            )
            if (!ownNames.includes(name)) known.set(name, value)
          }
          for (const [name, dims] of runner.cacheDims())
            note(name, dims, null, probe, run)
        }
      } catch (error) {
        if (!several) throw runtimeError(error)
        this.manifest = { ...this.manifest, batch: false }
      }
    }
    await runner.release()
    const shape = (name: string): Affine[] => {
      const list = samples.get(name) ?? []
      const rank = list[0]?.dims.length ?? 0
      return Array.from({ length: rank }, (_, axis) =>
        this.fit(
          name,
          list.map((s) => this.sample(s.probe, s.run, s.dims[axis] ?? 0)),
        ),
      )
    }
    const feeds: Record<string, Feed> = { ...this.manifest.feeds }
    for (const name of ownNames) {
      const list = samples.get(name) ?? []
      const length = list[0]?.data?.length ?? 0
      const values = Array.from({ length }, (_, i) =>
        this.fit(
          name,
          list.map((s) => this.sample(s.probe, s.run, s.data?.[i] ?? 0)),
        ),
      )
      feeds[name] = {
        dtype: 'int64',
        dims: shape(name),
        fill: { kind: 'values', values },
      }
    }
    const tensors = { ...this.manifest.tensors }
    for (const [name, tensor] of Object.entries(tensors)) {
      const value = this.values[0]?.[0]?.get(name)
      if (tensor.from !== segment || !value) continue
      if (value.dtype !== tensor.dtype)
        throw new ModelError(
          `The tensor ${name} is ${value.dtype}, not ${tensor.dtype} as the graph suggests.`,
        )
      tensors[name] = { ...tensor, dims: shape(name), golden: this.keep(value.bytes) }
    }
    const segments = this.manifest.segments.map((item, i) =>
      i === segment && span
        ? {
            ...item,
            caches: span.caches.map((cache) => this.cache(cache, shape(cache.input))),
          }
        : item,
    )
    this.manifest = { ...this.manifest, feeds, tensors, segments }
    this.checkRows(segment)
    if (segment === layers + 1) this.finish(shape(this.manifest.logits.name))
  }

  /** Rows that run together must give what they give one after another. */
  private checkRows(segment: number): void {
    const [together] = this.values[0] ?? []
    const single = this.values[2] ?? []
    for (const [name, { dims, from }] of Object.entries(this.manifest.tensors)) {
      const value = together?.get(name)
      const rows = single.flatMap((values) => values.get(name) ?? [])
      // Rows lie behind one another where no longer axis is outside of theirs.
      const lined = dims.at(-2)?.[2] === 1 && dims.length <= 3
      if (from !== segment || !lined || !value || !/^float/.test(value.dtype)) continue
      if (distance(value, rows) > ROWS_BOUND)
        throw new ModelError(
          'The model reads a prompt at once in another way than token by token: its export is for one token at a time, as that of a decoder with past alone often is; export it again with a current exporter.',
        )
    }
  }

  /** `present` has S more rows than `past` on the axis that grows. */
  private cache(cache: Cache, present: readonly Affine[]): Cache {
    const growing = present.findIndex(([, , rows, past]) => rows !== 0 || past !== 0)
    const axis = growing === -1 ? null : growing
    const dims = present.map(([c, b, rows, past]): Affine => {
      if (rows !== past)
        throw new ModelError(
          `The cache ${cache.input} does not grow by the rows of a run; Choir cannot continue it.`,
        )
      return [c, b, 0, past]
    })
    return { ...cache, dims, axis }
  }

  private finish(logits: readonly Affine[]): void {
    const value = this.values[0]?.[0]?.get(this.manifest.logits.name)
    const rows = logits.at(-2)
    const wide = logits.at(-1)
    if (!value || !rows || !wide)
      throw new ModelError(
        'The logits of the model have no [batch, rows, vocabulary] shape.',
      )
    if (lastRow(value).some(Number.isNaN))
      throw new ModelError(
        'The model answers a short prompt with NaN instead of numbers: its weights are damaged or too large for their type; export it again or cut another variant.',
      )
    const all = rows[2] === 1
    // Masks and the like that leave the embedding too are narrower than the hidden state.
    const widths = Object.values(this.manifest.tensors)
      .filter((tensor) => tensor.from === 0)
      .map((tensor) => tensor.dims.at(-1)?.[0] ?? 0)
    this.manifest = {
      ...this.manifest,
      hidden: Math.max(...widths, 0) || this.manifest.hidden,
      vocabulary: wide[0],
      logits: { ...this.manifest.logits, dtype: value.dtype, rows: all ? 'all' : 'last' },
      golden: {
        ...this.manifest.golden,
        ids: [...this.ids],
        logits: this.keep(value.bytes),
      },
    }
  }

  private keep(bytes: Uint8Array): [number, number] {
    this.golden.push(bytes)
    this.goldenLength += bytes.length
    return [this.goldenLength - bytes.length, bytes.length]
  }

  private sample(probe: number, run: number, value: number): Sample {
    const shape = PROBES[probe]?.[run] ?? { batch: 1, rows: 0, past: 0 }
    return { ...shape, value }
  }

  private fit(name: string, samples: readonly Sample[]): Affine {
    const fit = fitAffine(samples)
    if (fit) return fit
    this.manifest = { ...this.manifest, batch: false }
    const single = fitAffine(samples.filter(({ batch }) => batch === 1))
    if (single) return single
    throw new ModelError(
      `The shape of ${name} depends on more than the lengths of prompt and cache; Choir cannot cut here.`,
    )
  }

  private idsFor(batch: number, rows: number, run: number): number[] {
    const count = batch * rows
    return run === 0 && batch === 1
      ? this.ids.slice(0, count)
      : Array.from(
          { length: count },
          (_, i) => this.ids[(i + run) % this.ids.length] ?? 0,
        )
  }

  private async open(
    segment: number,
    nodes: readonly OnnxNode[],
    owned: readonly string[],
  ): Promise<GraphRunner> {
    const { layers } = this.manifest
    const span = {
      from: Math.min(Math.max(segment - 1, 0), layers),
      to: Math.min(segment, layers),
      embed: segment === 0,
      head: segment === layers + 1,
    }
    const pieces = Object.fromEntries(
      Object.entries(this.manifest.pieces).map(([id, piece]) => [
        id,
        { ...piece, feeds: piece.feeds.filter((name) => !owned.includes(name)) },
      ]),
    )
    const extra = {
      fields: nodes.map((node) => graphField('node', node.bytes)),
      outputs: owned.map((name) => ({ name, dtype: 'int64' as const })),
    }
    const files = this.files({ ...this.manifest, pieces })
    try {
      return (await openSpan(files, span, { extra, optimisation: this.optimisation }))
        .runner
    } catch (error) {
      if (this.optimisation !== 'disabled') throw runtimeError(error)
    }
    // Some graphs with half precision casts open only once they are rewritten.
    try {
      const { runner } = await openSpan(files, span, { extra, optimisation: 'basic' })
      this.optimisation = 'basic'
      return runner
    } catch (error) {
      throw runtimeError(error)
    }
  }
}

/** What the runtime says of a graph that it cannot open or run, as one sentence. */
export function runtimeError(error: unknown): ModelError {
  if (error instanceof ModelError) return error
  const text = error instanceof Error ? error.message : String(error)
  if (/bad_alloc|out of memory|memory access out of bounds/i.test(text))
    return new ModelError(
      'The model, or one part of it, needs more memory than one WebAssembly heap (4 GiB) has; cut a smaller or quantised variant.',
      { cause: error },
    )
  const line = text
    .replace(/\s+/g, ' ')
    .replace(/^.*?ERROR_MESSAGE: "?/, '')
    // Where in its source the runtime stopped.
    .replace(/^\S+\.(cc|h):\d+ .*?\) (?=[A-Z])/, '')
    .trim()
    .slice(0, 400)
  return new ModelError(`The runtime cannot run this model: ${line}`, { cause: error })
}

/** How far a tensor is from its rows, as a part of their size (root mean square). */
function distance(value: Filled, rows: readonly Filled[]): number {
  const whole = floats(value)
  const lined = rows.flatMap((row) => [...floats(row)])
  const squares = (of: (x: number, i: number) => number): number =>
    lined.reduce((sum, x, i) => sum + of(x, i) ** 2, 0)
  return Math.sqrt(squares((x, i) => x - (whole[i] ?? NaN)) / squares((x) => x))
}

function integers({ bytes }: Filled): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: bytes.byteLength / 8 }, (_, i) =>
    Number(view.getBigInt64(8 * i, true)),
  )
}
