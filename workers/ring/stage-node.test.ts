import { describe, expect, it } from 'vitest'
import { CacheRows } from './cache-rows.ts'
import { PLAIN, type Frame } from './frame.ts'
import { Lineage } from './lineage.ts'
import { routesOf } from './routes.ts'
import { Scheduler } from './scheduler.ts'
import { StageNode } from './stage-node.ts'
import { FakeEngine, fakeManifest, unread } from './testing/fake-model.ts'
import { settle } from './testing/fake-room.ts'

const EPOCH = { term: 1, number: 1 }

async function secondStage(residual = false) {
  const manifest = fakeManifest({ layers: 4, residual })
  const stages = [
    { device: 'a', from: 0, to: 1 },
    { device: 'b', from: 1, to: 2 },
    { device: 'c', from: 2, to: 4 },
  ]
  const routes = routesOf(manifest, { epoch: EPOCH, stages }, 'c')
  if (!routes) throw new Error('no routes')
  const engine = new FakeEngine()
  const spans = routes.spans.map(({ span }) => span)
  await engine.load({
    layout: 1,
    manifest,
    reader: { file: unread, shard: unread },
    spans,
    mode: 'packed',
  })
  const sent: { device: string; frame: Frame }[] = []
  const node = new StageNode({
    engine,
    rows: new CacheRows(engine),
    scheduler: new Scheduler(),
    send: (device, frame) => sent.push({ device, frame }) > 0,
    onLogits: () => undefined,
    now: () => 0,
  })
  node.serve({ routes, layout: 1, cacheBudget: 1e9, copy: null })
  const names = Object.keys(manifest.tensors)
  const hidden = (change: Partial<Frame>, name = 'h2'): Frame => {
    const rows = change.rows ?? 1
    const numbers = Float32Array.from({ length: rows * 3 }, (_, i) => 100 + (i % 3))
    return {
      ...PLAIN,
      kind: 'hidden',
      epoch: EPOCH,
      sequence: 1,
      dtype: 'float32',
      last: true,
      attempt: 1,
      rows,
      tensor: names.indexOf(name),
      payload: new Uint8Array(numbers.buffer),
      ...change,
    }
  }
  const kinds = () =>
    sent.splice(0).map(({ frame: { kind, position } }) => `${kind} ${position}`)
  return { node, engine, hidden, kinds }
}

describe('a stage', () => {
  it('does not build on rows that a lost rollback should have replaced', async () => {
    const { node, hidden, kinds, engine } = await secondStage()
    node.receive('b', hidden({ rows: 50 }))
    await settle()
    expect(kinds()).toEqual(['hidden 49'])
    // Attempt 2 began at row 40 and never came this far; attempt 3 goes on from it.
    node.receive('b', hidden({ attempt: 3, base: 2, position: 45 }))
    await settle()
    expect(kinds()).toEqual(['nack 0'])
    expect(engine.runs).toHaveLength(1)
    node.receive('b', hidden({ attempt: 4, base: 1, position: 40, rows: 5 }))
    await settle()
    expect(kinds()).toEqual(['hidden 44'])
    node.receive('b', hidden({ attempt: 4, base: 4, position: 45 }))
    await settle()
    expect(kinds()).toEqual(['hidden 45'])
  })

  it('tells the starter where rows are missing', async () => {
    const { node, hidden, kinds } = await secondStage()
    node.receive('b', hidden({ rows: 20 }))
    node.receive('b', hidden({ position: 25, base: 1 }))
    await settle()
    expect(kinds()).toEqual(['hidden 19', 'nack 20'])
  })

  it('takes a tensor only from the device that the plan names, once', async () => {
    const { node, hidden, engine } = await secondStage()
    node.receive('a', hidden({}))
    node.receive('c', hidden({}))
    node.receive('b', hidden({}, 'h1'))
    await settle()
    expect(engine.runs).toHaveLength(0)
    node.receive('b', hidden({}))
    node.receive('b', hidden({}))
    await settle()
    node.receive('b', hidden({}))
    await settle()
    expect(engine.runs).toHaveLength(1)
  })

  it('waits for all inputs, and runs chunks in order whichever link is slower', async () => {
    const { node, hidden, engine, kinds } = await secondStage(true)
    const chunk = (position: number) => ({ position, rows: 2, base: position ? 1 : 0 })
    node.receive('b', hidden(chunk(0)))
    node.receive('b', hidden(chunk(2)))
    node.receive('a', hidden(chunk(2), 'value'))
    await settle()
    expect(engine.runs).toHaveLength(0)
    node.receive('a', hidden(chunk(0), 'value'))
    await settle()
    expect(engine.runs.map(({ position }) => position)).toEqual([0, 2])
    expect(kinds()).toEqual(['hidden 1', 'hidden 3'])
  })

  it('does not mix inputs of two attempts', async () => {
    const { node, hidden, engine } = await secondStage(true)
    node.receive('a', hidden({ attempt: 1 }, 'value'))
    node.receive('b', hidden({ attempt: 2 }))
    node.receive('a', hidden({ attempt: 1 }, 'value'))
    await settle()
    expect(engine.runs).toHaveLength(0)
    node.receive('a', hidden({ attempt: 2 }, 'value'))
    await settle()
    expect(engine.runs).toHaveLength(1)
  })

  it('does not collect inputs without end', async () => {
    const { node, hidden, kinds } = await secondStage(true)
    for (let i = 0; i < 1000; i++) node.receive('b', hidden({ position: i, base: 1 }))
    for (let i = 0; i < 1000; i++) node.receive('b', hidden({ sequence: i }))
    await settle()
    expect(node.sequences).toBeLessThanOrEqual(64)
    // Whose inputs are dropped is told.
    expect(kinds().filter((kind) => kind.startsWith('nack')).length).toBeGreaterThan(900)
  })
})

describe('lineage', () => {
  it('knows who wrote which row', () => {
    const lineage = new Lineage()
    expect(lineage.continues(0, 0)).toBe(true)
    lineage.wrote(0, 10, 1)
    lineage.wrote(10, 5, 1)
    lineage.wrote(12, 4, 2)
    expect(lineage.rows).toBe(16)
    expect(lineage.continues(12, 1)).toBe(true)
    expect(lineage.continues(13, 2)).toBe(true)
    expect(lineage.continues(13, 1)).toBe(false)
    expect(lineage.continues(17, 2)).toBe(false)
    expect(lineage.reliable(20)).toBe(16)
    expect(lineage.reliable(14)).toBe(12)
    expect(lineage.reliable(12)).toBe(0)
    lineage.truncate(12)
    expect(lineage.rows).toBe(12)
    expect(lineage.continues(12, 1)).toBe(true)
    lineage.truncate(99)
    expect(lineage.rows).toBe(12)
  })
})
