/** One stage by itself: the app's engine runs its layers without a ring. */
import { expose } from 'comlink'
import { parseManifest, type Manifest } from '../../../model-split/manifest.ts'
import { inputsOf, type Span } from '../../../model-split/span.ts'
import { createWasmEngine } from '../../../workers/stage/engine-wasm.ts'
import { loadWasmRuntime } from '../../../workers/stage/ort-wasm.ts'
import { byteLength, dimsFor } from '../../../workers/stage/tensors.ts'
import type { Engine, TensorData, WeightMode } from '../../../workers/stage/types.ts'

/** A step of each of several sequences: as one batch, and one by one; medians. */
export interface BatchRun {
  readonly togetherMs: number
  readonly apartMs: number
}

export interface HalfRun {
  readonly steps: number
  readonly ms: number
}

let loaded: { engine: Engine; manifest: Manifest; spans: readonly Span[] } | null = null

const half = {
  async load(url: string, spans: readonly Span[], mode: WeightMode): Promise<void> {
    const bytes = async (file: string): Promise<Uint8Array> =>
      new Uint8Array(await (await fetch(url + file)).arrayBuffer())
    const json: unknown = await (await fetch(`${url}manifest.json`)).json()
    const manifest = parseManifest(json)
    const engine = createWasmEngine({ runtime: await loadWasmRuntime(1) })
    const reader = {
      file: bytes,
      shard: (sha256: string) => bytes(`shards/${sha256}.bin`),
    }
    await engine.load({ layout: 1, manifest, reader, spans, mode })
    loaded = { engine, manifest, spans }
  },

  /** Runs of `rows` rows, one after another, each after `past` rows, for so long. */
  async work(rows: number, past: number, limitMs: number): Promise<HalfRun> {
    let steps = 0
    await fill(1, past)
    const start = performance.now()
    while (performance.now() - start < limitMs) {
      await turn({ rows, past })
      steps++
    }
    return { steps, ms: performance.now() - start }
  },

  /** One row of each of the sequences after `past` rows, both ways in turns, for so long. */
  async batch(sequences: number, past: number, limitMs: number): Promise<BatchRun> {
    await fill(sequences, past)
    const times: [together: number[], apart: number[]] = [[], []]
    const start = performance.now()
    while (performance.now() - start < limitMs)
      for (const [i, together] of [true, false].entries()) {
        const began = performance.now()
        await turn({ rows: 1, past, sequences, together })
        times[i]?.push(performance.now() - began)
      }
    const [togetherMs = NaN, apartMs = NaN] = times.map(median)
    return { togetherMs, apartMs }
  },
}

export type Half = typeof half

interface Turn {
  readonly rows: number
  readonly past: number
  readonly sequences?: number
  readonly together?: boolean
}

/** A step of each sequence through all spans. */
async function turn({
  rows,
  past,
  sequences = 1,
  together = false,
}: Turn): Promise<void> {
  if (!loaded) throw new Error('Nothing is loaded.')
  const { engine, spans } = loaded
  for (const [span, { head, embed, from, to }] of spans.entries()) {
    const size = head && from === to ? { rows: 1, past: past + rows - 1 } : { rows, past }
    const inputs = inputsFor(span, size.rows, size.past)
    const ids = embed ? { ids: new Array<number>(rows).fill(7) } : {}
    const steps = Array.from({ length: sequences }, (_, i) => ({
      ...{ layout: 1, span, sequence: 1 + i, inputs, ...ids },
      ...{ position: size.past, rows: size.rows },
    }))
    if (together) await Promise.all(engine.runTogether(steps))
    else for (const step of steps) await engine.run(step)
  }
}

async function fill(sequences: number, rows: number): Promise<void> {
  for (let past = 0; past < rows; past += 64)
    await turn({ rows: Math.min(64, rows - past), past, sequences })
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN
}

function inputsFor(index: number, rows: number, past: number): Map<string, TensorData> {
  const found = new Map<string, TensorData>()
  const { manifest, spans } = loaded ?? {}
  const span = spans?.[index]
  if (!manifest || !span) return found
  for (const name of inputsOf(manifest, span)) {
    const tensor = manifest.tensors[name]
    if (!tensor) continue
    const dims = dimsFor(tensor.dims, { batch: 1, rows, past })
    const values = new Float32Array(byteLength(tensor.dtype, dims) / 4)
    values.forEach((_, i) => (values[i] = Math.sin(i)))
    found.set(name, { dtype: tensor.dtype, dims, bytes: new Uint8Array(values.buffer) })
  }
  return found
}

expose(half)
