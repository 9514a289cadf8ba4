/**
 * What every engine must do, on a real cut model. Free of any test framework, so that a page
 * can run it in a browser as well.
 */
import { inputsOf, type Span } from '../../model-split/span.ts'
import { Golden } from './golden.ts'
import { layoutChecks } from './layout-suite.ts'
import {
  argmax,
  canTruncate,
  Chain,
  equal,
  linksOf,
  newRows,
  near,
  promptOf,
  refused,
  type EngineCheck,
  type SuiteOptions,
} from './suite-tools.ts'
import { slice } from './tensors.ts'
import type { Engine, LoadProgress, TensorData } from './types.ts'

export function engineChecks(options: SuiteOptions): EngineCheck[] {
  const { create, model, mode, tolerance, ownTolerance } = options
  const { manifest, reader } = model
  const whole: Span = { from: 0, to: manifest.layers, embed: true, head: true }
  const half = Math.ceil(manifest.layers / 2)
  const ring: Span[] = [
    { from: 0, to: half, embed: true, head: false },
    { from: half, to: manifest.layers, embed: false, head: false },
    { from: manifest.layers, to: manifest.layers, embed: false, head: true },
  ].filter((span) => span.from < span.to || span.embed || span.head)

  const withChain = async (
    spans: readonly Span[],
    use: (chain: Chain, engine: Engine) => Promise<void>,
  ) => {
    const engine = await create()
    try {
      await engine.load({ layout: 1, manifest, reader, spans, mode })
      await use(new Chain(manifest, linksOf(engine, 1, spans)), engine)
    } finally {
      await engine.release()
    }
  }
  const golden = async (): Promise<Golden> =>
    new Golden(manifest, await reader.file(manifest.golden.file))
  const check = (
    name: string,
    spans: readonly Span[],
    use: (chain: Chain, engine: Engine) => Promise<void>,
  ) => ({
    name,
    run: () => withChain(spans, use),
  })

  return [
    check(
      'prefill and decode give the logits of the uncut model',
      [whole],
      async (chain) => {
        const expected = await golden()
        const { ids } = expected
        for (const from of [0, ids.length - 1]) {
          if (from > 0) await chain.logits(1, 0, ids.slice(0, from))
          const wanted = expected.logits(ids.length - 1)
          if (!wanted) throw new Error('no golden logits')
          near(await chain.logits(1, from, ids.slice(from)), wanted, tolerance)
        }
      },
    ),
    check('a chain of spans gives the same', ring, async (chain) => {
      const expected = await golden()
      const wanted = expected.logits(expected.ids.length - 1)
      if (!wanted) throw new Error('no golden logits')
      near(await chain.logits(1, 0, expected.ids), wanted, tolerance)
    }),
    check(
      'a prompt in pieces gives what it gives at once',
      [whole],
      async (chain, engine) => {
        const ids = promptOf(manifest, 9)
        const atOnce = await chain.logits(1, 0, ids)
        let pieces = await chain.logits(2, 0, ids.slice(0, 4))
        pieces = await chain.logits(2, 4, ids.slice(4, 6))
        pieces = await chain.logits(2, 6, ids.slice(6))
        near(pieces, atOnce, ownTolerance)
        equal(engine.length(2, 1), 9, 'rows')
      },
    ),
    check('every row has the logits that it has as the last one', ring, async (chain) => {
      if (manifest.logits.rows !== 'all') return
      const ids = promptOf(manifest, 7)
      const all = await chain.logits(1, 0, ids, true)
      equal(all.dims.at(-2), ids.length, 'rows of logits')
      for (const [row] of ids.entries())
        near(
          slice(all, all.dims.length - 2, row, row + 1),
          await chain.logits(2 + row, 0, ids.slice(0, row + 1)),
          ownTolerance,
        )
    }),
    check(
      'rolling back and going on gives what it gave before',
      [whole],
      async (chain, engine) => {
        if (!canTruncate(manifest)) return
        const ids = promptOf(manifest, 8)
        const before = await chain.logits(1, 0, ids)
        await chain.logits(1, 8, [5 % manifest.vocabulary, 7 % manifest.vocabulary])
        engine.truncate(1, 6)
        equal(engine.length(1, 1), 6, 'rows after truncate')
        near(await chain.logits(1, 6, ids.slice(6)), before, ownTolerance)
        // A step at an earlier position rolls back by itself.
        near(await chain.logits(1, 3, ids.slice(3)), before, ownTolerance)
        equal(engine.length(1, 1), 8, 'rows after rolling back')
      },
    ),
    check('sequences do not see each other', ring, async (chain) => {
      const one = promptOf(manifest, 5)
      const two = promptOf(manifest, 7).map((id) => (id + 3) % manifest.vocabulary)
      const alone = [await chain.generate(1, one, 4), await chain.generate(2, two, 4)]
      const ids = [[...one], [...two]]
      let done = [0, 0]
      for (let i = 0; i < 5; i++)
        for (const s of [0, 1]) {
          const fresh = ids[s]?.slice(done[s]) ?? []
          const logits = await chain.logits(11 + s, done[s] ?? 0, fresh)
          done = done.with(s, ids[s]?.length ?? 0)
          if (i < 4) ids[s]?.push(argmax(logits))
        }
      equal(ids[0]?.slice(5).join(), alone[0]?.join(), 'tokens of the first sequence')
      equal(ids[1]?.slice(7).join(), alone[1]?.join(), 'tokens of the second sequence')
    }),
    check('steps that run together give what each gives alone', ring, async (chain) => {
      const prompts = [3, 9, 5, 1, 6, 4].map((length, i) =>
        promptOf(manifest, length).map((id) => (id + i) % manifest.vocabulary),
      )
      const lengths = [1, 1, manifest.logits.rows === 'all' ? 3 : 1, 1, 1, 1]
      const stepsFrom = (first: number) =>
        prompts.map((prompt, i) => {
          const length = lengths[i] ?? 1
          const ids = promptOf(manifest, length)
          return newRows(first + i, prompt.length, ids, length > 1)
        })
      for (const first of [1, 11])
        for (const [i, prompt] of prompts.entries())
          await chain.logits(first + i, 0, prompt)
      const alone: TensorData[] = []
      for (const { sequence, position, ids, everyRow } of stepsFrom(1))
        alone.push(await chain.logits(sequence, position, ids, everyRow))
      const together = await chain.together(stepsFrom(11))
      for (const [i, logits] of alone.entries()) {
        const other = together[i]
        if (!other) throw new Error('no logits')
        near(other, logits, 0)
      }
    }),
    check('of steps that run together one may fail', [whole], async (chain, engine) => {
      const prompts = [4, 4, 4].map((length) => promptOf(manifest, length))
      for (const [i, prompt] of prompts.entries()) await chain.logits(1 + i, 0, prompt)
      const [wanted] = prompts
      const right = await chain.logits(9, 0, [...(wanted ?? []), 5])
      const steps = [1, 2, 3].map((sequence) => ({
        ...{ layout: 1, span: 0, sequence, position: 4, rows: 1 },
        ...{ ids: [5], inputs: new Map<string, TensorData>() },
      }))
      const wrong = [
        { code: 'gap', change: { position: 6 } },
        { code: 'bad-input', change: { ids: [manifest.vocabulary] } },
        { code: 'bad-input', change: { ids: [] } },
      ] as const
      for (const { code, change } of wrong) {
        const all = steps.map((step, i) => (i === 1 ? { ...step, ...change } : step))
        const [one, two, three] = engine.runTogether(all)
        await refused(code, () => two ?? Promise.resolve())
        for (const outputs of [await one, await three]) {
          const logits = outputs?.get(manifest.logits.name)
          if (!logits) throw new Error('no logits')
          near(logits, right, ownTolerance)
        }
        if (canTruncate(manifest))
          for (const sequence of [1, 3]) engine.truncate(sequence, 4)
        else return
      }
    }),
    check(
      'a long answer is the same at once and after its cache has grown',
      [whole],
      async (c) => {
        const length = Math.min(300, manifest.context > 0 ? manifest.context : 300)
        const ids = promptOf(manifest, length)
        for (let at = 0; at < length; at += 60) {
          const piece = ids.slice(at, Math.min(at + 60, length))
          await c.logits(1, at, piece)
        }
        near(
          await c.logits(1, length - 1, ids.slice(-1)),
          await c.logits(2, 0, ids),
          ownTolerance,
        )
      },
    ),
    check('dropping a sequence frees its cache', [whole], async (chain, engine) => {
      equal(engine.memory().caches, 0, 'caches before')
      const ids = promptOf(manifest, 6)
      const first = await chain.logits(1, 0, ids)
      const held = engine.memory()
      if (!(held.weights > 0 && held.caches > 0)) throw new Error('memory is not counted')
      engine.drop(1)
      engine.drop(99)
      equal(engine.memory().caches, 0, 'caches after')
      equal(engine.length(1, 1), 0, 'rows after')
      near(await chain.logits(1, 0, ids), first, 0)
    }),
    check('a gap is refused and the sequence goes on', [whole], async (chain) => {
      const ids = promptOf(manifest, 6)
      await refused('gap', () => chain.logits(1, 4, ids.slice(4)))
      await chain.logits(1, 0, ids.slice(0, 4))
      await refused('gap', () => chain.logits(1, 5, ids.slice(5)))
      near(
        await chain.logits(1, 4, ids.slice(4)),
        await chain.logits(2, 0, ids),
        ownTolerance,
      )
    }),
    check('wrong input is refused with a sentence', ring, async (_, engine) => {
      const start = { layout: 1, span: 0, sequence: 1, position: 0 }
      const step = { ...start, rows: 2, inputs: new Map() }
      const refuse = (wrong: object) =>
        refused('bad-input', () => engine.run({ ...step, ...wrong }))
      await refuse({})
      await refuse({ ids: [1] })
      await refuse({ ids: [1, manifest.vocabulary] })
      await refuse({ ids: [1, -1] })
      await refuse({ ids: [1, 0.5] })
      await refuse({ ids: [1, 2], span: 9 })
      await refuse({ ids: [], rows: 0 })
      await refuse({ ids: [1, 2], rows: NaN })
      await refuse({ ids: [1, 2], position: -1 })
      const last = ring.length - 1
      for (const name of inputsOf(manifest, ring[last] ?? whole)) {
        const right = (await golden()).border(name, 0, 2)
        const wrong: (TensorData | undefined)[] = [
          undefined,
          { ...right, dims: [...right.dims, 1] },
          { ...right, dims: right.dims.with(-1, NaN) },
          { ...right, dtype: right.dtype === 'float32' ? 'float16' : 'float32' },
          { ...right, bytes: right.bytes.subarray(1) },
        ]
        for (const tensor of wrong)
          await refuse({ span: last, inputs: new Map(tensor ? [[name, tensor]] : []) })
      }
    }),
    {
      name: 'loading tells how far it is, and can be stopped',
      run: async () => {
        const engine = await create()
        const seen: LoadProgress[] = []
        const onProgress = (progress: LoadProgress) => void seen.push(progress)
        await engine.load({ layout: 1, manifest, reader, spans: ring, mode, onProgress })
        equal(seen.at(-1)?.loadedBytes, seen.at(-1)?.totalBytes, 'bytes at the end')
        await engine.release()
        const other = await create()
        const stop = new AbortController()
        stop.abort()
        await refused('aborted', () =>
          other.load({
            layout: 1,
            manifest,
            reader,
            spans: ring,
            mode,
            signal: stop.signal,
          }),
        )
        await other.release()
      },
    },
    {
      name: 'after release it holds nothing and refuses to run',
      run: async () => {
        const engine = await create()
        await engine.load({ layout: 1, manifest, reader, spans: [whole], mode })
        await engine.release()
        const { weights, caches } = engine.memory()
        equal(weights + caches, 0, 'bytes')
        const step = {
          layout: 1,
          span: 0,
          sequence: 1,
          position: 0,
          rows: 1,
          ids: [1],
          inputs: new Map(),
        }
        await refused('bad-input', () => engine.run(step))
      },
    },
    ...layoutChecks(options),
  ]
}
