import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { parseManifest } from '../../model-split/manifest.ts'
import { createWasmEngine } from './engine-wasm.ts'
import { addedBytes } from './weight-modes.ts'
import type { WeightMode } from './types.ts'
import { nodeRuntime } from './testing/node-runtime.ts'

const MODEL = join(import.meta.dirname, '../../public/models/smollm2-135m-instruct')
const runtime = await nodeRuntime()

it('looks a tied embedding up in the matrix of the head, held once', async () => {
  const read = async (path: string) => new Uint8Array(await readFile(join(MODEL, path)))
  const manifest = parseManifest(
    JSON.parse(await readFile(join(MODEL, 'manifest.json'), 'utf8')),
  )
  const { layers, hidden, vocabulary } = manifest
  const ends = [
    { from: 0, to: 0, embed: true, head: false },
    { from: layers, to: layers, embed: false, head: true },
  ]
  const embed = async (mode: WeightMode) => {
    const engine = createWasmEngine({ runtime })
    const reader = { file: read, shard: (sha256: string) => read(`shards/${sha256}.bin`) }
    await engine.load({ layout: 0, manifest, reader, spans: ends, mode })
    const ids = [0, 1, 15, 16, 7919, 49151]
    const inputs = new Map<string, never>()
    const step = { layout: 0, sequence: 1, position: 0, rows: ids.length }
    const outputs = await engine.run({ ...step, span: 0, ids, inputs })
    const { weights } = engine.memory()
    await engine.release()
    return { outputs, weights }
  }
  const lean = await embed('lean')
  const packed = await embed('packed')
  expect(lean.outputs).toEqual(packed.outputs)
  expect(lean.outputs.size).toBeGreaterThan(0)
  expect(lean.weights / (hidden * vocabulary)).toBeLessThan(1.13)
  // What a plan reckons with.
  expect(lean.weights).toBe(addedBytes(manifest, 'lean', ends, []))
  expect(packed.weights).toBe(addedBytes(manifest, 'packed', ends, []))
})
