/**
 * A manifest and an engine for tests: hidden states are exact integers that depend on every
 * token, row, layer and residual tensor before, so that a lost, doubled, reordered or stale
 * row changes the tokens.
 */
import type { Affine, Manifest } from '../../../model-split/manifest.ts'
import { inputsOf, outputsOf, segmentsOf } from '../../../model-split/span.ts'
import { Mutex } from '../../stage/stage-errors.ts'
import {
  StageError,
  type Engine,
  type LoadOptions,
  type Step,
  type TensorData,
} from '../../stage/types.ts'
import { sample } from '../sampler.ts'
import type { Sampling } from '../types.ts'

export const VOCABULARY = 97
const WIDTH = 3
const MODULUS = 65_521
const ONE: Affine = [1, 0, 0, 0]
const ROWS: Affine = [0, 0, 1, 0]
const EMPTY_RANGE: [number, number] = [0, 0]

export interface FakeOptions {
  readonly layers: number
  readonly context?: number
  readonly eos?: readonly number[]
  /** Tensors that skip stages: from the embedding to the head, and from layer 0 to all later. */
  readonly residual?: boolean
  /** Numbers of a row in a layer's cache. */
  readonly cacheWidth?: number
  /** Rows are not the last but one axis of the head's input: it cannot be cut. */
  readonly wholeChunks?: boolean
  /** The answer repeats itself after so many tokens, whatever was asked. */
  readonly cycle?: number
}

export function fakeManifest(options: FakeOptions): Manifest {
  const { layers, residual = false, wholeChunks = false, cacheWidth = 4 } = options
  const head = layers + 1
  const dims: Affine[] = [ONE, ROWS, [WIDTH, 0, 0, 0]]
  const uncut: Affine[] = [
    [0, 0, WIDTH, 0],
    [1, 0, 1, 0],
  ]
  const border = (from: number, to: number[], own = dims) => ({
    dtype: 'float32' as const,
    dims: own,
    from,
    to,
    golden: EMPTY_RANGE,
  })
  const tensors: Manifest['tensors'] = {}
  for (let segment = 0; segment <= layers; segment++)
    tensors[`h${segment}`] = border(
      segment,
      [segment + 1],
      wholeChunks && segment === layers ? uncut : dims,
    )
  if (residual) {
    tensors['skip'] = border(0, [head])
    const later = Array.from({ length: layers }, (_, i) => i + 2)
    if (layers > 1) tensors['value'] = border(1, later)
  }
  return {
    format: 'choir-cut',
    version: 1,
    // The engine reads the cycle here.
    model: {
      name: 'fake',
      variant: options.cycle === undefined ? '' : String(options.cycle),
      architecture: null,
      license: null,
    },
    layers,
    hidden: WIDTH,
    vocabulary: VOCABULARY,
    context: options.context ?? 2048,
    eos: [...(options.eos ?? [])],
    batch: false,
    logits: { name: 'logits', dtype: 'float32', rows: 'all' },
    header: EMPTY_RANGE,
    graph: { file: 'graph.bin', bytes: 0, sha256: '0'.repeat(64) },
    golden: {
      file: 'golden.bin',
      bytes: 0,
      sha256: '0'.repeat(64),
      ids: [1, 2, 3],
      logits: EMPTY_RANGE,
    },
    pieces: {},
    feeds: {},
    segments: Array.from({ length: layers + 2 }, (_, i) => ({
      name: `s${i}`,
      pieces: [],
      exit: [],
      caches:
        i === 0 || i === head
          ? []
          : [
              {
                input: `past${i}`,
                output: `present${i}`,
                dtype: 'float32' as const,
                dims: [ONE, [0, 0, 0, 1], [cacheWidth, 0, 0, 0]] as Affine[],
                axis: 1,
              },
            ],
      flops: 100,
    })),
    tensors,
    dependencies: { sequential: [], residual: [] },
    blobs: {},
    shards: {},
    files: [],
  }
}

export interface RunRecord {
  readonly sequence: number
  readonly layout: number
  readonly span: number
  readonly position: number
  readonly rows: number
}

/** Rows of one sequence: per cached segment, one number per row. */
type Caches = Map<number, number[]>

export class FakeEngine implements Engine {
  readonly kind = 'wasm'
  batches = true
  readonly runs: RunRecord[] = []
  /** Sequences that ran together. */
  readonly calls: number[][] = []
  /** Rows of single layers that came from other devices. */
  copied = 0
  /** Awaited in each call: lets a test hold an engine. */
  pace: () => Promise<void> = () => Promise.resolve()
  /** Thrown by the next run. */
  nextError: StageError | null = null
  readonly #layouts = new Map<number, LoadOptions>()
  readonly #work = new Mutex()
  /** Of the newest call, runs that are not over. */
  #open = 0
  /** What runs now. */
  running: RunRecord | null = null
  readonly #caches = new Map<number, Caches>()

  load(options: LoadOptions): Promise<void> {
    if (this.#layouts.has(options.layout)) throw new Error('that layout is loaded')
    this.#layouts.set(options.layout, options)
    return Promise.resolve()
  }

  unload(layout: number): Promise<void> {
    return this.#work.run(() => {
      this.#layouts.delete(layout)
      const needed = new Set([...this.#layouts.keys()].flatMap((l) => this.#layers(l)))
      for (const caches of this.#caches.values())
        for (const segment of caches.keys())
          if (!needed.has(segment - 1)) caches.delete(segment)
      return Promise.resolve()
    })
  }

  async run(step: Step): Promise<Map<string, TensorData>> {
    const [outputs] = await Promise.all(this.runTogether([step]))
    return outputs ?? new Map()
  }

  runTogether(steps: readonly Step[]): Promise<Map<string, TensorData>>[] {
    if (this.#open > 0) throw new Error('two runs at a time')
    this.#open = steps.length
    if (steps.length > 0) this.calls.push(steps.map(({ sequence }) => sequence))
    return steps.map((step, i) => this.#work.run(() => this.#run(step, i > 0)))
  }

  async #run(step: Step, isPaced: boolean): Promise<Map<string, TensorData>> {
    const { sequence, layout, span, position, rows } = step
    this.running = { sequence, layout, span, position, rows }
    this.runs.push(this.running)
    try {
      if (!isPaced) await this.pace()
      const error = this.nextError
      this.nextError = null
      if (error) throw error
      return this.#compute(step)
    } finally {
      this.running = null
      this.#open--
    }
  }

  length(sequence: number, layout: number): number {
    const rows = this.#layers(layout).map((layer) => this.rows(sequence, layer))
    return rows.length > 0 ? Math.min(...rows) : 0
  }

  rows(sequence: number, layer: number): number {
    return this.#caches.get(sequence)?.get(layer + 1)?.length ?? 0
  }

  exportRows(
    sequence: number,
    layer: number,
    from: number,
    to: number,
  ): Promise<TensorData[]> {
    return this.#work.run(() => {
      const rows = this.#caches.get(sequence)?.get(layer + 1) ?? []
      if (from < 0 || from > to) throw new StageError('bad-input', 'No such rows.')
      if (to > rows.length) throw new StageError('gap', 'Rows are missing.')
      const width = this.#cacheWidth
      const numbers = Float32Array.from(
        rows
          .slice(from, to)
          .flatMap((value) => Array.from({ length: width }, (_, i) => value + i)),
      )
      const bytes = new Uint8Array(numbers.buffer)
      return Promise.resolve([
        { dtype: 'float32' as const, dims: [1, to - from, width], bytes },
      ])
    })
  }

  importRows(
    sequence: number,
    layer: number,
    from: number,
    rows: number,
    tensors: readonly TensorData[],
  ): Promise<void> {
    return this.#work.run(() => {
      const [tensor] = tensors
      const here = [...this.#layouts.keys()].some((l) => this.#layers(l).includes(layer))
      const width = this.#cacheWidth
      if (!here || tensor?.dims.join() !== [1, rows, width].join())
        throw new StageError('bad-input', 'These rows do not fit.')
      if (this.rows(sequence, layer) < from)
        throw new StageError('gap', 'Rows are missing.')
      const caches: Caches = this.#caches.get(sequence) ?? new Map<number, number[]>()
      this.#caches.set(sequence, caches)
      const numbers = new Float32Array(tensor.bytes.slice().buffer)
      const fresh = Array.from({ length: rows }, (_, i) => numbers[width * i] ?? NaN)
      caches.set(layer + 1, [...(caches.get(layer + 1) ?? []).slice(0, from), ...fresh])
      this.copied += rows
      return Promise.resolve()
    })
  }

  truncate(sequence: number, length: number): void {
    for (const rows of this.#caches.get(sequence)?.values() ?? [])
      if (rows.length > length) rows.length = length
  }

  drop(sequence: number): void {
    this.#caches.delete(sequence)
  }

  memory(): { weights: number; caches: number } {
    let caches = 0
    for (const layers of this.#caches.values())
      for (const rows of layers.values()) caches += rows.length * 16
    return { weights: 1000, caches }
  }

  release(): Promise<void> {
    this.#layouts.clear()
    this.#caches.clear()
    return Promise.resolve()
  }

  get #cacheWidth(): number {
    const [loaded] = this.#layouts.values()
    const layer = loaded?.manifest.segments.find(({ caches }) => caches.length > 0)
    return layer?.caches[0]?.dims[2]?.[0] ?? 0
  }

  #layers(layout: number): number[] {
    const spans = this.#layouts.get(layout)?.spans ?? []
    return spans.flatMap(({ from, to }) =>
      Array.from({ length: to - from }, (_, i) => from + i),
    )
  }

  #compute(step: Step): Map<string, TensorData> {
    const loaded = this.#layouts.get(step.layout)
    const span = loaded?.spans[step.span]
    if (!loaded || !span) throw new Error('no such span')
    const { manifest } = loaded
    const { layers } = manifest
    const [start, end] = segmentsOf(manifest, span)
    const values = new Map<string, number[]>()
    for (const name of inputsOf(manifest, span)) {
      const tensor = step.inputs.get(name)
      if (!tensor) throw new Error(`input ${name} is missing`)
      values.set(name, toRows(tensor, step.rows))
    }
    const caches = this.#cachesFor(step, start, end, layers)
    const outputs = new Map<string, TensorData>()
    const { rows, position } = step
    const each = (f: (row: number) => number) =>
      Array.from({ length: rows }, (_, i) => f(i))
    const at = (name: string, row: number) => values.get(name)?.[row] ?? 0
    for (let segment = start; segment < end; segment++) {
      if (segment === 0) {
        const ids = step.ids
        if (ids?.length !== rows) throw new Error('ids are missing')
        values.set(
          'h0',
          each((i) => mix(ids[i] ?? 0, position + i)),
        )
        values.set(
          'skip',
          each((i) => mix(at('h0', i), 7)),
        )
      } else if (segment <= layers) {
        const cache = caches.get(segment)
        if (cache?.length !== position) throw new Error('the cache does not fit')
        const input = `h${segment - 1}`
        const out = each((i) => {
          const value = mix(at(input, i) + (segment > 1 ? at('value', i) : 0), segment)
          cache.push(mix(value, cache.at(-1) ?? 0))
          return mix(value, cache.at(-1) ?? 0)
        })
        values.set(`h${segment}`, out)
        if (segment === 1 && manifest.tensors['value'])
          values.set(
            'value',
            each((i) => mix(out[i] ?? 0, 11)),
          )
      } else {
        const wanted = each((row) => row).slice(step.everyRow ? 0 : -1)
        const logits = wanted.flatMap((row) => {
          const skip = manifest.tensors['skip'] ? at('skip', row) : 0
          const cycle = Number(manifest.model.variant)
          const key =
            cycle > 0
              ? mix((position + row) % cycle, cycle)
              : mix(at(`h${layers}`, row) + skip, at('value', row))
          return Array.from({ length: VOCABULARY }, (_, id) => mix(key, id) / 8192)
        })
        const bytes = new Uint8Array(Float32Array.from(logits).buffer)
        const dims = [1, wanted.length, VOCABULARY]
        outputs.set('logits', { dtype: 'float32', dims, bytes })
      }
    }
    for (const name of outputsOf(manifest, span))
      outputs.set(name, toTensor(manifest, name, values.get(name) ?? [], step))
    return outputs
  }

  #cachesFor(step: Step, start: number, end: number, layers: number): Caches {
    const first = Math.max(start, 1)
    const last = Math.min(end, layers + 1)
    if (first >= last) return new Map()
    const caches: Caches = this.#caches.get(step.sequence) ?? new Map<number, number[]>()
    this.#caches.set(step.sequence, caches)
    for (let segment = first; segment < last; segment++) {
      const rows = caches.get(segment) ?? []
      caches.set(segment, rows)
      if (rows.length < step.position) throw new StageError('gap', 'Rows are missing.')
      rows.length = step.position
    }
    return caches
  }
}

/** The tokens that a run in one piece, without any of the ring's code, gives. */
export async function reference(
  manifest: Manifest,
  ids: readonly number[],
  maxTokens: number,
  sampling: Sampling,
): Promise<number[]> {
  const engine = new FakeEngine()
  const span = { from: 0, to: manifest.layers, embed: true, head: true }
  const reader = { file: unread, shard: unread }
  await engine.load({ layout: 1, manifest, reader, spans: [span], mode: 'packed' })
  const all = [...ids]
  const answer: number[] = []
  let position = 0
  while (answer.length < maxTokens && all.length < manifest.context) {
    const rows = all.slice(position)
    const step = {
      layout: 1,
      span: 0,
      sequence: 1,
      position,
      rows: rows.length,
      ids: rows,
      inputs: new Map(),
    }
    const logits = (await engine.run(step)).get('logits')
    if (!logits) throw new Error('no logits')
    position = all.length
    const numbers = new Float32Array(logits.bytes.slice().buffer)
    const id = sample(numbers, sampling, all, answer.length)
    if (manifest.eos.includes(id)) break
    all.push(id)
    answer.push(id)
  }
  return answer
}

export const unread = (): Promise<Uint8Array> => Promise.resolve(new Uint8Array(0))

function mix(a: number, b: number): number {
  return (
    (Math.imul(a + 31, 2_654_435) +
      Math.imul(b + 17, 40_503) +
      (a ^ b) * 13 +
      MODULUS * 9e6) %
    MODULUS
  )
}

/** Each row holds its value, that plus 1, that plus 2: enough to notice a wrong offset. */
function toTensor(
  manifest: Manifest,
  name: string,
  values: number[],
  step: Step,
): TensorData {
  const tensor = manifest.tensors[name]
  if (!tensor) throw new Error(`no tensor ${name}`)
  const numbers = Float32Array.from(values.flatMap((v) => [v, v + 1, v + 2]))
  const { rows } = step
  const dims = tensor.dims.length === 2 ? [WIDTH * rows, 1 + rows] : [1, rows, WIDTH]
  const size = dims.reduce((product, dim) => product * dim, 1)
  const padded = new Float32Array(size)
  padded.set(numbers)
  return { dtype: 'float32', dims, bytes: new Uint8Array(padded.buffer) }
}

function toRows({ bytes, dims }: TensorData, rows: number): number[] {
  const size = dims.reduce((product, dim) => product * dim, 1)
  if (bytes.byteLength !== size * 4) throw new Error('the tensor has a wrong size')
  const numbers = new Float32Array(bytes.slice().buffer)
  return Array.from({ length: rows }, (_, i) => {
    const value = numbers[i * WIDTH] ?? NaN
    if (numbers[i * WIDTH + 2] !== value + 2) throw new Error('the tensor is damaged')
    return value
  })
}
