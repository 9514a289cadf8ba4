/** Layers that a stage holds beside those it runs, with the WASM runtime and a real cut. */
import { describe, expect, it } from 'vitest'
import { systemClock } from '../ring/clock.ts'
import { StageService } from './stage-service.ts'
import { cut, nothing, options, parts, plan } from './testing/service-tools.ts'
import type { ShardReader } from './types.ts'

const quantised = await cut('llama-q4-sym')

describe('overlap layers', () => {
  const { manifest, reader } = quantised
  const { layers } = manifest
  const first = plan(1, ['b', 0, 1], ['a', 1, layers - 1], ['c', layers - 1, layers])
  const moved = plan(2, ['a', 0, layers])

  /** A device that serves a middle span; what it reads from the store is counted. */
  async function holding(memoryBudget = 1e9) {
    const read: string[] = []
    const counted: ShardReader = {
      file: (name) => reader.file(name),
      shard(sha256) {
        read.push(sha256)
        return reader.shard(sha256)
      },
    }
    const { parts: made, engines, released } = parts(counted)
    const service = new StageService(made)
    const holds: (readonly number[])[] = []
    await service.onStats((stats) => holds.push(stats.holds))
    await service.open({ ...options(manifest, 'a'), mode: 'packed', memoryBudget })
    await service.prepare(first, nothing, null)
    await service.activate(first.epoch)
    return { service, read, engines, released, holds }
  }

  it('are there when a plan moves them here: no shard is read', async () => {
    const { service, read, engines, holds } = await holding()
    await service.hold([0, layers - 1])
    expect(holds.at(-1)).toEqual([0, layers - 1])
    // They rest: caches grow for the layers that run only.
    expect(engines[0]?.memory().caches).toBe(0)
    read.length = 0
    await service.prepare(
      plan(2, ['b', 0, 0], ['a', 0, layers - 1], ['c', layers - 1, layers]),
      nothing,
      null,
    )
    expect(read).toEqual([])
    await service.activate({ term: 1, number: 2 })
    await service.hold([])
    expect(holds.at(-1)).toEqual([])
    await service.prepare(plan(3, ['b', 0, 0], ['a', 0, layers]), nothing, null)
    expect(read.length).toBeGreaterThan(0)
    expect(engines).toHaveLength(1)
    await service.close()
  })

  it('wait while this device has something to run, and may be called off', async () => {
    // Time stands still: the last run stays a moment ago.
    const clock = { ...systemClock, now: () => 1000, after: () => () => undefined }
    const { parts: made, engines } = parts(reader, { clock })
    const service = new StageService(made)
    await service.open({ ...options(manifest, 'a'), mode: 'packed' })
    const whole = plan(1, ['a', 0, layers])
    await service.prepare(whole, nothing, null)
    await service.activate(whole.epoch)
    const [engine = expect.unreachable()] = engines
    let loads = 0
    const load = engine.load.bind(engine)
    engine.load = (order) => {
      loads++
      return load(order)
    }
    await service.hold([0])
    expect(loads).toBe(1)
    const sampling = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 }
    await new Promise<void>((resolve) => {
      const ask = { sequence: 1, ids: [1, 2, 3], maxTokens: 3, sampling }
      void service.ask(ask, ({ kind }) => {
        if (kind !== 'token') resolve()
      })
    })
    const waiting = service.hold([0, 1])
    // It has come to where it waits.
    await new Promise((resolve) => setImmediate(resolve))
    const called = service.hold([0])
    await expect(waiting).rejects.toThrow()
    await called
    expect(loads).toBe(1)
    await service.close()
  })

  it('go first where a lower budget or a plan needs their memory', async () => {
    const probe = await holding()
    const own = probe.engines[0]!.memory().weights
    await probe.service.hold([0])
    const one = probe.engines[0]!.memory().weights
    await probe.service.hold([])
    const more = plan(2, ['b', 0, 1], ['a', 1, layers])
    await probe.service.prepare(more, nothing, null)
    const both = probe.engines[0]!.memory().weights
    await probe.service.close()

    const lower = await holding()
    await lower.service.hold([0])
    const dropped = new Promise<void>((resolve) => {
      void lower.service.onStats(({ holds }) => (holds.length === 0 ? resolve() : null))
    })
    await lower.service.setMemoryBudget(one - 1)
    await dropped
    expect(lower.engines[0]!.memory().weights).toBe(own)
    await lower.service.close()

    // Room for one of the two only.
    const tight = await holding(one)
    await tight.service.hold([0, layers - 1])
    expect(tight.holds.at(-1)).toEqual([0])
    await tight.service.close()

    const next = await holding(Math.max(one, both))
    await next.service.hold([0])
    await next.service.prepare(more, nothing, null)
    expect(next.engines[0]!.memory().weights).toBe(both)
    // The layers that run go on running.
    expect(next.released).toEqual([])
    await next.service.close()
    expect(next.released).toEqual(next.engines)
  })

  it('come in the order in which they would move: the nearest first', async () => {
    const { parts: made, engines } = parts(reader)
    const service = new StageService(made)
    const loaded: number[] = []
    await service.open({ ...options(manifest, 'a'), mode: 'packed' })
    const last = plan(1, ['b', 0, layers - 1], ['a', layers - 1, layers])
    await service.prepare(last, nothing, null)
    await service.activate(last.epoch)
    const [engine = expect.unreachable()] = engines
    const load = engine.load.bind(engine)
    engine.load = (order) => {
      loaded.push(...order.spans.map(({ from }) => from))
      return load(order)
    }
    const others = Array.from({ length: layers - 1 }, (_, layer) => layer)
    await service.hold(others)
    expect(loaded.length).toBeGreaterThan(1)
    expect(loaded).toEqual(others.toReversed())
    await service.close()
  })

  it('give way to a plan that comes while they load', async () => {
    const { service, engines } = await holding()
    const held = service.hold([0, layers - 1]).catch(() => undefined)
    await service.prepare(moved, nothing, null)
    await held
    await service.activate(moved.epoch)
    expect(engines).toHaveLength(1)
    await service.close()
  })
})
