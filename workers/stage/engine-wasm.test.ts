import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { cutModel } from '../../model-split/cut/cut.ts'
import { openSource } from '../../model-split/source/open.ts'
import { runCanary, toleranceFor } from './canary.ts'
import { engineChecks } from './engine-suite.ts'
import { createWasmEngine } from './engine-wasm.ts'
import type { HeapModule } from './heap-module.ts'
import { Chain, linksOf, refused, type CutModel } from './suite-tools.ts'
import type { Engine, WeightMode } from './types.ts'
import { addedBytes } from './weight-modes.ts'
import { findFixture, fixture } from './testing/fixtures.ts'
import { nodeRuntime } from './testing/node-runtime.ts'

const runtime = await nodeRuntime()
const out = await mkdtemp(join(tmpdir(), 'engine-'))
afterAll(() => rm(out, { recursive: true }))

const create = (): Promise<Engine> => Promise.resolve(createWasmEngine({ runtime }))

async function cut(name: string): Promise<CutModel> {
  const source = await openSource(fixture(name))
  const folder = join(out, name)
  try {
    const { manifest } = await cutModel(source, folder, {})
    return { manifest, reader: readerOf(folder) }
  } finally {
    await source.close()
  }
}

function readerOf(folder: string): CutModel['reader'] {
  const read = async (path: string) => new Uint8Array(await readFile(join(folder, path)))
  return { file: read, shard: (sha256) => read(`shards/${sha256}.bin`) }
}

/** The runtime, and which of its tensors are not released yet. */
function counted(): { runtime: HeapModule; live: ReadonlySet<number> } {
  const live = new Set<number>()
  const seen: HeapModule = Object.assign(Object.create(runtime) as HeapModule, {
    _OrtCreateTensor: (...args: Parameters<HeapModule['_OrtCreateTensor']>) => {
      const handle = runtime._OrtCreateTensor(...args)
      live.add(handle)
      return handle
    },
    _OrtRun: async (...args: Parameters<HeapModule['_OrtRun']>) => {
      const code = await runtime._OrtRun(...args)
      const [, , , , , count, outputs] = args
      for (let i = 0; code === 0 && i < count; i++)
        live.add(runtime.getValue(outputs + 4 * i, '*'))
      return code
    },
    _OrtReleaseTensor: (handle: number) => {
      expect(live.delete(handle)).toBe(true)
      return runtime._OrtReleaseTensor(handle)
    },
  })
  return { runtime: seen, live }
}

/** What is special about each is in the fixtures' README. */
const cases: readonly { name: string; modes: readonly WeightMode[] }[] = [
  { name: 'genai-llama-fp32', modes: ['dense'] },
  { name: 'genai-qwen2-int4-tied', modes: ['packed', 'dense', 'lean'] },
  { name: 'llama-q4-sym', modes: ['packed', 'dense', 'lean'] },
  { name: 'qwen2-q4-asym', modes: ['packed', 'dense', 'lean'] },
  { name: 'genai-llama-fp16', modes: ['packed'] },
  { name: 'llama-value-residual', modes: ['packed'] },
  { name: 'optimum-gemma3', modes: ['packed'] },
]

const models: { name: string; modes: readonly WeightMode[]; model: CutModel }[] = []
for (const one of cases)
  if (findFixture(one.name)) models.push({ ...one, model: await cut(one.name) })
  else it.skip(`${one.name} (needs ../shared)`)

const dynamic = 'llama-int8-dynamic'
it.skipIf(!findFixture(dynamic))(
  `${dynamic} passes the canary, though its numbers hang on the rows of a run`,
  async () => {
    const { manifest, reader } = await cut(dynamic)
    const engine = await create()
    const spans = [{ from: 0, to: manifest.layers, embed: true, head: true }]
    await engine.load({ layout: 1, manifest, reader, spans, mode: 'packed' })
    const golden = await reader.file(manifest.golden.file)
    const subject = { engine, layout: 1, manifest, spans, clock: () => performance.now() }
    expect((await runCanary({ ...subject, golden })).kind).toBe('ok')
    const wrong = golden.map((byte, i) => (i % 4 === 3 ? byte ^ 0x80 : byte))
    expect((await runCanary({ ...subject, golden: wrong })).kind).toBe('wrong-result')
    await engine.release()
  },
)

async function holdsWhatAPlanReckons(model: CutModel, mode: WeightMode): Promise<void> {
  const { manifest, reader } = model
  const spans = [{ from: 0, to: manifest.layers, embed: true, head: true }]
  const engine = await create()
  await engine.load({ layout: 1, manifest, reader, spans, mode })
  const reckoned = addedBytes(manifest, mode, spans, [])
  // A plan counts what lies between tensors too.
  const padding = 64 * Object.values(manifest.blobs).flatMap((b) => b.tensors).length
  expect(engine.memory().weights).toBeLessThanOrEqual(reckoned)
  expect(engine.memory().weights).toBeGreaterThanOrEqual(reckoned - padding)
  await engine.release()
}

it('holds a tied embedding of fp32 once', async () => {
  await holdsWhatAPlanReckons(await cut('optimum-qwen2'), 'packed')
})

describe.each(models)('$name on WASM', ({ name, modes, model }) => {
  describe.each(modes)('%s', (mode) => {
    it('holds what a plan reckons with', () => holdsWhatAPlanReckons(model, mode))

    const quantised = modes.includes('lean')
    const half = name.endsWith('fp16')
    const checks = engineChecks({
      ...{ create, model, mode },
      tolerance: toleranceFor('wasm', half ? 'float16' : 'float32', quantised),
      // Steps of other sizes take other kernels: the additions come in another order, which
      // may change how a value is rounded to int16.
      ownTolerance: half ? 0.02 : mode === 'lean' ? 1e-3 : 1e-5,
    })
    it.each(checks)('$name', ({ run }) => run())

    it('leaves nothing of a run in the heap but caches', async () => {
      const { manifest, reader } = model
      const { runtime, live } = counted()
      const engine = createWasmEngine({ runtime })
      const spans = [
        { from: 0, to: manifest.layers, embed: true, head: false },
        { from: manifest.layers, to: manifest.layers, embed: false, head: true },
      ]
      await engine.load({ layout: 1, manifest, reader, spans, mode })
      const chain = new Chain(manifest, linksOf(engine, 1, spans))
      await chain.generate(1, [3, 1, 2], 2)
      engine.drop(1)
      const before = live.size
      await chain.generate(1, [3, 1, 2], 2)
      await refused('bad-input', () => chain.logits(1, 5, [manifest.vocabulary]))
      await refused('bad-input', () => chain.logits(1, 5, [0.5]))
      expect(live.size).toBeGreaterThan(before)
      engine.drop(1)
      expect(live.size).toBe(before)
      await engine.release()
      expect(live.size).toBe(0)
    })

    it('passes the canary', async () => {
      const { manifest, reader } = model
      const engine = await create()
      const spans = [{ from: 0, to: manifest.layers, embed: true, head: true }]
      await engine.load({ layout: 1, manifest, reader, spans, mode })
      const golden = await reader.file(manifest.golden.file)
      let now = 0
      const verdict = await runCanary({
        ...{ engine, layout: 1, manifest, golden, spans },
        clock: () => now++,
      })
      expect(verdict).toMatchObject({ kind: 'ok' })
      expect(verdict.msPerLayer).toBeGreaterThan(0)
      expect(verdict.msPerLayer * manifest.layers + (verdict.msStarter ?? 0)).toBeCloseTo(
        1,
      )
      expect(engine.length(-1, 1)).toBe(0)
      await engine.release()
    })
  })
})
