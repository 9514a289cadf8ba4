/** The whole stage, three of them over message ports, with the WASM runtime and a real cut. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { GREEDY, type AnswerEvent, type RingPlan } from '../ring/types.ts'
import type { StageStats } from './api.ts'
import { StageService } from './stage-service.ts'
import { cut, nothing, options, parts, plan } from './testing/service-tools.ts'
import { fixture } from './testing/fixtures.ts'
import { StageError, type Step } from './types.ts'

const residual = await cut('llama-value-residual')
const quantised = await cut('llama-q4-sym')

describe('three stages', () => {
  it('give the tokens of the uncut model, also where the plan changes on the way', async () => {
    const { manifest, reader } = residual
    const all = new Map(
      await Promise.all(
        ['a', 'b', 'c'].map(async (self) => {
          const service = new StageService(parts(reader).parts)
          await service.open({ ...options(manifest, self), mode: 'packed' })
          return [self, service] as const
        }),
      ),
    )
    const of = (id: string) => all.get(id) ?? expect.unreachable()
    for (const [x, y] of [
      ['a', 'b'],
      ['b', 'c'],
      ['a', 'c'],
    ] as const) {
      const { port1, port2 } = new MessageChannel()
      await of(x).connect(y, port1)
      await of(y).connect(x, port2)
    }
    const change = async (next: RingPlan) => {
      const reports = await Promise.all(
        [...all.values()].map((s) => s.prepare(next, nothing, null)),
      )
      await Promise.all([...all.values()].map((s) => s.activate(next.epoch)))
      return reports
    }
    const reports = await change(plan(1, ['a', 0, 1], ['b', 1, 2], ['c', 2, 4]))
    expect(reports.every(({ msPerLayer }) => msPerLayer > 0)).toBe(true)
    expect(reports.map(({ msStarter }) => msStarter !== null)).toEqual([
      true,
      false,
      false,
    ])
    const expected: unknown = JSON.parse(
      await readFile(join(fixture('llama-value-residual'), 'expected.json'), 'utf8'),
    )
    const { ids, tokens } = greedyOf(expected)
    const got: number[] = []
    const answer = async (sequence: number, onToken: (count: number) => void) => {
      got.length = 0
      return new Promise<AnswerEvent>((resolve) => {
        const ask = { sequence, ids, maxTokens: tokens.length, sampling: GREEDY }
        void of('b').ask(ask, (event) => {
          if (event.kind !== 'token') resolve(event)
          else onToken(got.push(event.id))
        })
      })
    }
    expect(await answer(1, nothing)).toMatchObject({ kind: 'end' })
    expect(got).toEqual(tokens)

    const changing: Promise<unknown>[] = []
    const end = await answer(2, (count) => {
      if (count === 1) changing.push(change(plan(2, ['c', 0, 3], ['a', 3, 4])))
    })
    await Promise.all(changing)
    expect(changing).toHaveLength(1)
    expect(end).toMatchObject({ kind: 'end' })
    expect(got).toEqual(tokens)
    await Promise.all([...all.values()].map((service) => service.close()))
  })
})

it('an answer that never leaves the device can be stopped', async () => {
  const { manifest, reader } = quantised
  const service = new StageService(parts(reader).parts)
  await service.open(options(manifest, 'a'))
  await service.prepare(plan(1, ['a', 0, manifest.layers]), nothing, null)
  await service.activate({ term: 1, number: 1 })
  // As calls come to a worker.
  const { port1, port2 } = new MessageChannel()
  port1.onmessage = () => void service.stop(1)
  const end = await new Promise<AnswerEvent>((resolve) => {
    const ask = { sequence: 1, ids: [1, 2, 3], maxTokens: 100, sampling: GREEDY }
    void service.ask(ask, (event) => {
      if (event.kind === 'token' && event.index === 1) port2.postMessage(null)
      if (event.kind !== 'token') resolve(event)
    })
  })
  port1.close()
  expect(end).toMatchObject({ kind: 'end', reason: 'stopped' })
  await service.close()
})

it('several answers run as one, and each is what it is alone', async () => {
  const { manifest, reader } = quantised
  const fake = parts(reader)
  const service = new StageService(fake.parts)
  await service.open({ ...options(manifest, 'a'), mode: 'lean' })
  await service.prepare(plan(1, ['a', 0, manifest.layers]), nothing, null)
  await service.activate({ term: 1, number: 1 })
  const sizes: number[] = []
  const [engine = expect.unreachable()] = fake.engines
  const runTogether = engine.runTogether.bind(engine)
  engine.runTogether = (steps) => {
    sizes.push(steps.length)
    return runTogether(steps)
  }
  const answer = (sequence: number, first: number) =>
    new Promise<number[]>((resolve) => {
      const got: number[] = []
      const ask = { sequence, ids: [first, 2, 3], maxTokens: 20, sampling: GREEDY }
      void service.ask(ask, (event) => {
        if (event.kind === 'token') got.push(event.id)
        else resolve(got)
      })
    })
  const alone: number[][] = []
  for (const first of [1, 2, 3, 4]) alone.push(await answer(first, first))
  expect(Math.max(...sizes)).toBe(1)
  const together = await Promise.all([1, 2, 3, 4].map((n) => answer(10 + n, n)))
  expect(together).toEqual(alone)
  expect(new Set(alone.map(String)).size).toBeGreaterThan(1)
  expect(sizes.filter((size) => size === 4).length).toBeGreaterThan(10)
  await service.close()
})

describe('preparing', () => {
  const whole = plan(1, ['a', 0, quantised.manifest.layers])

  it('takes the fastest mode that fits the memory', async () => {
    const { manifest, reader } = quantised
    const modes: string[] = []
    for (const memoryBudget of [1e9, 1_000_000, 500_000, 1000]) {
      const service = new StageService(parts(reader).parts)
      await service.open({ ...options(manifest, 'a'), memoryBudget })
      const result = await service.prepare(whole, nothing, null).then(
        ({ mode, memory }) => {
          expect(memory.weights).toBeLessThanOrEqual(memoryBudget)
          return mode
        },
        (error: unknown) => (error instanceof StageError ? error.message : 'other'),
      )
      modes.push(result)
      await service.close()
    }
    expect(modes[0]).toBe('lean')
    expect(modes.at(-1)).toMatch(/^This phone is short by .* GB/)
  })

  it('falls back to WASM, with the reason, where WebGPU fails or computes wrongly', async () => {
    const { manifest, reader } = quantised
    for (const failure of ['start', 'result'] as const) {
      const fake = parts(reader)
      const { engines, released } = fake
      const service = new StageService({
        ...fake.parts,
        webgpuMissing: () => Promise.resolve(null),
        async engine(wanted) {
          if (wanted.kind === 'webgpu' && failure === 'start')
            throw new StageError('device-lost', 'No adapter.')
          const engine = await fake.parts.engine({ ...wanted, kind: 'wasm' })
          if (wanted.kind === 'wasm') return engine
          const run = engine.run.bind(engine)
          engine.run = async (step) => {
            const outputs = await run(step)
            for (const { bytes } of outputs.values()) bytes.fill(0)
            return outputs
          }
          return engine
        },
      })
      await service.open(options(manifest, 'a'))
      const report = await service.prepare(whole, nothing, null)
      expect(report.engine).toBe('wasm')
      expect(report.fallback).toMatch(
        failure === 'start'
          ? /^The model runs on the processor.*: No adapter/
          : /computes .* wrongly/,
      )
      if (failure === 'result') expect(released).toEqual([engines[0]])
      await service.close()
      expect(released).toHaveLength(engines.length)
    }
  })

  it('goes on with WASM where the graphics chip is lost in the middle of an answer', async () => {
    const { manifest, reader } = residual
    const fake = parts(reader)
    let runs = 0
    const service = new StageService({
      ...fake.parts,
      webgpuMissing: () => Promise.resolve(null),
      async engine(wanted) {
        const engine = await fake.parts.engine({ ...wanted, kind: 'wasm' })
        if (wanted.kind === 'wasm') return engine
        const run = engine.run.bind(engine)
        const lost = new StageError('device-lost', 'Lost.')
        // The canary's runs are of sequences below zero.
        engine.run = (step) =>
          step.sequence > 0 && ++runs > 3 ? Promise.reject(lost) : run(step)
        Object.defineProperty(engine, 'kind', { value: 'webgpu' })
        return engine
      },
    })
    const stats: StageStats[] = []
    await service.onStats((newest) => stats.push(newest))
    await service.open({ ...options(manifest, 'a'), mode: 'packed' })
    const alone = plan(1, ['a', 0, manifest.layers])
    expect(await service.prepare(alone, nothing, null)).toMatchObject({
      engine: 'webgpu',
    })
    await service.activate(alone.epoch)
    const expected: unknown = JSON.parse(
      await readFile(join(fixture('llama-value-residual'), 'expected.json'), 'utf8'),
    )
    const { ids, tokens } = greedyOf(expected)
    const got: number[] = []
    const end = await new Promise<AnswerEvent>((resolve) => {
      const ask = { sequence: 1, ids, maxTokens: tokens.length, sampling: GREEDY }
      void service.ask(ask, (event) => {
        if (event.kind === 'token') got.push(event.id)
        else resolve(event)
      })
    })
    expect(end).toMatchObject({ kind: 'end' })
    expect(got).toEqual(tokens)
    expect(runs).toBe(4)
    expect(stats).toContainEqual(
      expect.objectContaining({
        engine: 'wasm',
        mode: 'packed',
        replaced: expect.stringMatching(
          /^The graphics chip .* stopped working/,
        ) as string,
      }),
    )
    await service.close()
    expect(fake.released).toHaveLength(2)
  })

  it('keeps what fits the next plan as well, and frees what does not', async () => {
    const { manifest, reader } = quantised
    const { layers } = manifest
    const { parts: made, engines, released } = parts(reader)
    const service = new StageService(made)
    await service.open(options(manifest, 'a'))
    await service.prepare(plan(1, ['a', 0, 1], ['b', 1, layers]), nothing, null)
    await service.activate({ term: 1, number: 1 })
    await service.prepare(plan(2, ['a', 0, 1], ['c', 1, layers]), nothing, null)
    await service.activate({ term: 1, number: 2 })
    expect(engines).toHaveLength(1)
    const weights = () => engines[0]?.memory().weights ?? 0
    const before = weights()
    const more = plan(3, ['b', 0, 1], ['a', 1, layers])
    const report = await service.prepare(more, nothing, null)
    // Beside the running plan, in its engine.
    expect(engines).toHaveLength(1)
    expect(weights()).toBeGreaterThan(before)
    expect(report.memory.weights).toBe(weights())
    const fewer = plan(4, ['b', 0, 1], ['a', 1, layers - 1], ['c', layers - 1, layers])
    await service.prepare(fewer, nothing, null)
    expect(weights()).toBeLessThan(report.memory.weights)
    // Another plan overtakes: what never ran is let go.
    await service.prepare(plan(5, ['b', 0, layers]), nothing, null)
    expect(weights()).toBe(before)
    expect(released).toEqual([])
    await service.activate({ term: 1, number: 5 })
    await expect(service.activate({ term: 1, number: 9 })).rejects.toThrow(/not ready/)
    await service.close()
    expect(released).toEqual(engines)
  })

  it('checks only what is new beside what runs, and refuses it where it is wrong', async () => {
    const { manifest, reader } = quantised
    const { layers } = manifest
    const { parts: made, engines } = parts(reader)
    const service = new StageService(made)
    await service.open(options(manifest, 'a'))
    const prepare = (number: number, to: number) =>
      service.prepare(plan(number, ['a', 0, to], ['b', to, layers]), nothing, null)
    await prepare(1, layers - 1)
    await service.activate({ term: 1, number: 1 })
    const [engine = expect.unreachable()] = engines
    const checks: Step[] = []
    const run = engine.run.bind(engine)
    let isWrong = false
    engine.run = async (step) => {
      checks.push(step)
      const outputs = await run(step)
      if (isWrong) for (const { bytes } of outputs.values()) bytes.fill(0)
      return outputs
    }
    const fewer = await prepare(2, layers - 2)
    expect(checks).toEqual([])
    expect(fewer).toMatchObject({
      msPerLayer: expect.any(Number) as number,
      msStarter: expect.any(Number) as number,
    })
    await service.activate({ term: 1, number: 2 })
    // What the plan before had may go at any time.
    const { weights } = engine.memory()
    isWrong = true
    await expect(prepare(3, layers - 1)).rejects.toThrow(/computes .* wrongly/)
    expect(engine.memory().weights).toBeLessThanOrEqual(weights)
    isWrong = false
    await prepare(4, layers - 1)
    expect(checks.length).toBeGreaterThan(0)
    for (const { ids, inputs, span } of checks) {
      expect(ids).toBeUndefined()
      expect(inputs.size).toBeGreaterThan(0)
      expect(span).toBe(0)
    }
    await service.close()
  })

  it('does not use an engine again whose device was lost', async () => {
    const { manifest, reader } = quantised
    const { parts: made, engines, released } = parts(reader)
    const service = new StageService(made)
    await service.open(options(manifest, 'a'))
    await service.prepare(whole, nothing, null)
    await service.activate(whole.epoch)
    const [engine] = engines
    if (!engine) throw new Error('no engine')
    engine.run = () => Promise.reject(new StageError('device-lost', 'Lost.'))
    const end = await new Promise<AnswerEvent>((resolve) => {
      void service.ask({ sequence: 1, ids: [1], maxTokens: 1, sampling: GREEDY }, resolve)
    })
    expect(end).toMatchObject({ kind: 'failed' })
    await service.prepare({ ...whole, epoch: { term: 1, number: 2 } }, nothing, null)
    await service.activate({ term: 1, number: 2 })
    expect(engines).toHaveLength(2)
    await service.close()
    expect(released).toEqual([engine, engines[1]])
  })

  it('gives up the running plan first where both do not fit', async () => {
    const { manifest, reader } = quantised
    const { layers } = manifest
    const { parts: made, engines, released } = parts(reader)
    const service = new StageService(made)
    const first = plan(1, ['a', 0, 1], ['b', 1, layers])
    const second = plan(2, ['b', 0, 1], ['a', 1, layers])
    const weights: number[] = []
    for (const each of [first, second]) {
      const probe = new StageService(parts(reader).parts)
      await probe.open({ ...options(manifest, 'a'), mode: 'packed' })
      weights.push((await probe.prepare(each, nothing, null)).memory.weights)
      await probe.close()
    }
    const memoryBudget = Math.max(...weights) + 1
    await service.open({ ...options(manifest, 'a'), mode: 'packed', memoryBudget })
    await service.prepare(first, nothing, null)
    await service.activate(first.epoch)
    await service.prepare(second, nothing, null)
    expect(released).toEqual([engines[0]])
    await service.close()
  })

  it('an older call is given up for a newer one', async () => {
    const { manifest, reader } = quantised
    const { parts: made, engines, released } = parts(reader)
    const service = new StageService(made)
    await service.open(options(manifest, 'a'))
    const first = service.prepare(whole, nothing, null)
    const next = plan(2, ['a', 0, 1], ['b', 1, manifest.layers])
    const second = service.prepare(next, nothing, null)
    await expect(first).rejects.toThrow()
    await second
    await service.activate(next.epoch)
    const gap = plan(3, ['a', 0, 1])
    await expect(service.prepare(gap, nothing, null)).rejects.toThrow(/does not cover/)
    await service.close()
    expect(released).toHaveLength(engines.length)
  })
})

it('says that no model is open', async () => {
  const service = new StageService(parts(residual.reader).parts)
  const events: AnswerEvent[] = []
  await service.ask({ sequence: 1, ids: [1], maxTokens: 1, sampling: GREEDY }, (e) =>
    events.push(e),
  )
  expect(events).toMatchObject([{ kind: 'failed' }])
  await expect(service.prepare(plan(1, ['a', 0, 1]), nothing, null)).rejects.toThrow(
    /No model is open/,
  )
})

/** From a fixture's expected.json: a prompt, and what a greedy run goes on with. */
function greedyOf(expected: unknown): { ids: number[]; tokens: number[] } {
  const { inputs, decode } = expected as {
    inputs: { input_ids: number[] }
    decode: { token: number; logits_argmax: number }[]
  }
  const first = decode[0]?.token ?? expect.unreachable()
  return {
    ids: inputs.input_ids,
    tokens: [first, ...decode.map((step) => step.logits_argmax)],
  }
}
