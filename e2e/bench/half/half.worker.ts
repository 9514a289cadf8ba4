/** One stage by itself: the app's engine runs its layers without a ring. */
import { expose } from 'comlink'
import { parseManifest, type Manifest } from '../../../model-split/manifest.ts'
import { inputsOf, type Span } from '../../../model-split/span.ts'
import { createWasmEngine } from '../../../workers/stage/engine-wasm.ts'
import { loadWasmRuntime } from '../../../workers/stage/ort-wasm.ts'
import { byteLength, dimsFor } from '../../../workers/stage/tensors.ts'
import type { Engine, TensorData, WeightMode } from '../../../workers/stage/types.ts'

/** How several sequences share the stage. */
export interface Sharing {
  readonly sequences?: number
  readonly together?: boolean
}

export interface HalfRun {
  /** Of all sequences. */
  readonly steps: number
  readonly ms: number
  /** Of one step of each sequence: a pause of the machine does not count. */
  readonly medianMs: number
  /** Per span, mean of one run. */
  readonly spanMs: readonly number[]
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

  /**
   * Runs of `rows` rows, one after another, each after `past` rows, for so long.
   * @param sequences that each have them, one after another or together.
   */
  async work(
    rows: number,
    past: number,
    limitMs: number,
    { sequences = 1, together = false }: Sharing = {},
  ): Promise<HalfRun> {
    if (!loaded) throw new Error('Nothing is loaded.')
    const { engine, spans } = loaded
    const total = spans.map(() => 0)
    const turns: number[] = []
    const turn = async (rows: number, position: number): Promise<void> => {
      for (const [span, { head, from, to }] of spans.entries()) {
        const at = performance.now()
        const size =
          head && from === to
            ? { rows: 1, past: position + rows - 1 }
            : { rows, past: position }
        const inputs = inputsFor(span, size.rows, size.past)
        const ids = spans[span]?.embed ? { ids: new Array<number>(rows).fill(7) } : {}
        const steps = Array.from({ length: sequences }, (_, i) => ({
          ...{ layout: 1, span, sequence: 1 + i, inputs, ...ids },
          ...{ position: size.past, rows: size.rows },
        }))
        if (together) await Promise.all(engine.runTogether(steps))
        else for (const step of steps) await engine.run(step)
        total[span] = (total[span] ?? 0) + performance.now() - at
      }
    }
    for (let position = 0; position < past; position += 64)
      await turn(Math.min(64, past - position), position)
    total.fill(0)
    const start = performance.now()
    while (performance.now() - start < limitMs) {
      const began = performance.now()
      await turn(rows, past)
      turns.push(performance.now() - began)
    }
    const ms = performance.now() - start
    const steps = turns.length * sequences
    const medianMs = turns.toSorted((a, b) => a - b)[turns.length >> 1] ?? NaN
    return { steps, ms, medianMs, spanMs: total.map((sum) => sum / steps) }
  },
}

export type Half = typeof half

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
