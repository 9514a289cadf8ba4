/** What every engine must do where plans come and go: layouts, and rows that move. */
import type { Span } from '../../model-split/span.ts'
import {
  canTruncate,
  Chain,
  equal,
  linksOf,
  near,
  promptOf,
  refused,
  type EngineCheck,
  type SuiteOptions,
} from './suite-tools.ts'
import type { Engine } from './types.ts'

export function layoutChecks(options: SuiteOptions): EngineCheck[] {
  const { create, model, mode, ownTolerance } = options
  const { manifest, reader } = model
  const { layers } = manifest
  const half = Math.ceil(layers / 2)
  const whole: Span = { from: 0, to: layers, embed: true, head: true }
  const head: Span = { from: layers, to: layers, embed: false, head: true }
  const start = (to: number): Span => ({ from: 0, to, embed: true, head: false })
  const middle = (from: number, to: number): Span => ({
    ...{ from, to },
    ...{ embed: false, head: false },
  })
  const load = (
    engine: Engine,
    layout: number,
    spans: readonly Span[],
    dormant = false,
  ): Promise<void> => engine.load({ layout, manifest, reader, spans, mode, dormant })

  const withEngine = async (use: (engine: Engine) => Promise<void>): Promise<void> => {
    const engine = await create()
    try {
      await use(engine)
    } finally {
      await engine.release()
    }
  }
  const one = (name: string, use: (engine: Engine) => Promise<void>): EngineCheck => ({
    name,
    run: () => withEngine(use),
  })
  /** From one engine to another. */
  const move = async (
    a: Engine,
    b: Engine,
    sequence: number,
    from: number,
    to: number,
  ): Promise<void> => {
    for (let layer = half; layer < layers; layer++) {
      const rows = await a.exportRows(sequence, layer, from, to)
      await b.importRows(sequence, layer, from, to - from, rows)
      equal(b.rows(sequence, layer), to, 'rows that came')
    }
  }

  return [
    one('a sequence goes on under another layout', async (engine) => {
      const spans = [start(layers), head]
      await load(engine, 1, spans)
      await load(engine, 2, [whole])
      const [first, second] = [
        new Chain(manifest, linksOf(engine, 1, spans)),
        new Chain(manifest, linksOf(engine, 2, [whole])),
      ]
      const ids = promptOf(manifest, 8)
      const wanted = await first.logits(9, 0, ids)
      await first.logits(1, 0, ids.slice(0, 5))
      equal(engine.length(1, 2), 5, 'rows under the other layout')
      await second.logits(1, 5, ids.slice(5, 7))
      near(await first.logits(1, 7, ids.slice(7)), wanted, ownTolerance)
      await engine.unload(1)
      if (canTruncate(manifest))
        near(await second.logits(1, 7, ids.slice(7)), wanted, ownTolerance)
      await refused('bad-input', () => first.logits(1, 8, [1]))
    }),
    one('a layout frees what no other one needs', async (engine) => {
      await load(engine, 1, [start(half), head])
      const before = engine.memory()
      await load(engine, 2, [start(layers), head])
      const both = engine.memory().weights
      if (both <= before.weights) throw new Error('the second layout costs nothing')
      if (engine.kind === 'wasm') {
        // Layers are there once, whoever runs them.
        await load(engine, 3, [whole])
        equal(engine.memory().weights, both, 'weights of a third layout')
        await engine.unload(3)
      }
      const chain = new Chain(manifest, linksOf(engine, 2, [start(layers), head]))
      const ids = promptOf(manifest, 6)
      await chain.logits(1, 0, ids)
      const held = engine.memory().caches
      await engine.unload(2)
      const after = engine.memory()
      equal(after.weights, before.weights, 'weights afterwards')
      equal(engine.rows(1, half - 1), ids.length, 'rows of a layer that stays')
      equal(engine.rows(1, layers - 1), 0, 'rows of a layer that went')
      if (!(after.caches > 0 && after.caches < held)) throw new Error('caches stay')
      await engine.unload(1)
      const { weights, caches } = engine.memory()
      equal(weights + caches, 0, 'bytes at the end')
    }),
    one('a dormant layout holds weights but no caches', async (engine) => {
      const spans = [start(layers), head]
      await load(engine, 1, spans)
      const { weights } = engine.memory()
      await load(engine, 2, [middle(half - 1, layers)], true)
      const chain = new Chain(manifest, linksOf(engine, 1, spans))
      await chain.logits(1, 0, promptOf(manifest, 4))
      await engine.unload(1)
      equal(engine.memory().caches, 0, 'caches')
      const kept = engine.memory().weights
      if (!(kept > 0 && kept < weights)) throw new Error('the wrong weights stay')
      await load(engine, 3, spans)
      const again = new Chain(manifest, linksOf(engine, 3, spans))
      await again.logits(1, 0, promptOf(manifest, 4))
      equal(engine.length(1, 3), 4, 'rows')
    }),
    one('rows that move to another engine go on there', (a) =>
      withEngine(async (b) => {
        const spans = [start(layers), head]
        await load(a, 1, spans)
        await load(a, 2, [start(half), head])
        await load(b, 1, [middle(half, layers)])
        const before = new Chain(manifest, linksOf(a, 1, spans))
        const [first, last] = linksOf(a, 2, [start(half), head])
        const [between] = linksOf(b, 1, [middle(half, layers)])
        if (!first || !last || !between) return
        const after = new Chain(manifest, [first, between, last])
        const ids = promptOf(manifest, 70)
        const wanted = await before.logits(9, 0, ids)
        await before.logits(1, 0, ids.slice(0, 5))
        await move(a, b, 1, 0, 5)
        // An answer goes on meanwhile; only what is new follows.
        await before.logits(1, 5, ids.slice(5, 6))
        await move(a, b, 1, 5, 6)
        await after.logits(1, 6, ids.slice(6, 69))
        near(await after.logits(1, 69, ids.slice(69)), wanted, ownTolerance)
        // And back.
        await move(b, a, 1, 0, 70)
        const next = [3 % manifest.vocabulary]
        near(
          await before.logits(1, 70, next),
          await before.logits(9, 70, next),
          ownTolerance,
        )
      }),
    ),
    one('rows that do not fit are refused', async (engine) => {
      await load(engine, 1, [start(half), head])
      const chain = new Chain(manifest, linksOf(engine, 1, [start(half), head]))
      await engine.run({
        ...{ layout: 1, span: 0, sequence: 1, position: 0, rows: 4 },
        ids: promptOf(manifest, 4),
        inputs: new Map(),
      })
      equal(chain.links.length, 2, 'links')
      const rows = await engine.exportRows(1, 0, 0, 4)
      await refused('gap', () => engine.exportRows(1, 0, 0, 5))
      await refused('gap', () => engine.exportRows(7, 0, 0, 1))
      await refused('bad-input', () => engine.exportRows(1, 0, 3, 2))
      await refused('bad-input', () => engine.exportRows(1, 0, -1, 2))
      const importing = (layer: number, from: number, count: number, tensors = rows) =>
        engine.importRows(2, layer, from, count, tensors)
      await refused('gap', () => importing(0, 1, 4))
      await refused('bad-input', () => importing(layers, 0, 4))
      await refused('bad-input', () => importing(0, 0, 3))
      await refused('bad-input', () => importing(0, 0, NaN))
      await refused('bad-input', () => importing(0, -1, 4))
      await refused('bad-input', () => importing(0, 0, 4, []))
      await refused('bad-input', () => importing(0, 0, 4, [...rows, ...rows]))
      const short = rows.map((tensor) => ({
        ...tensor,
        bytes: tensor.bytes.subarray(1),
      }))
      await refused('bad-input', () => importing(0, 0, 4, short))
      equal(engine.rows(2, 0), 0, 'rows after all that')
      equal(engine.memory().caches, cachesOf(engine, 1), 'caches after all that')
    }),
  ]
}

/** Bytes that the sequence's caches take; it is dropped. */
function cachesOf(engine: Engine, sequence: number): number {
  const { caches } = engine.memory()
  engine.drop(sequence)
  return caches - engine.memory().caches
}
