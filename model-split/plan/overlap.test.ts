import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cacheBytes, weightBytes } from './memory.ts'
import { overlapLayers } from './overlap.ts'
import type { Overlap } from './overlap.ts'
import { planLayers } from './plan.ts'
import { randomCase } from './testing/rooms.ts'
import type { Case } from './testing/rooms.ts'
import type { PlannedStage } from './types.ts'

function bytesOf(costs: Case['costs'], overlaps: readonly Overlap[]): number {
  return overlaps.reduce(
    (sum, { from, to }) => sum + weightBytes(costs, 'packed', from, to, false),
    0,
  )
}

/** Whether every layer has one extra copy at most and every device's layers fit. */
function allowed(
  stages: readonly PlannedStage[],
  overlaps: readonly Overlap[],
  room: Case,
): boolean {
  const copies = new Array<number>(room.costs.layers).fill(0)
  for (const { from, to } of overlaps)
    for (let l = from; l < to; l++) copies[l] = copies[l]! + 1
  if (copies.some((n) => n > 1)) return false
  return stages.every((stage, i) => {
    const { from, to, mode } = stage
    const before = overlaps[i - 1]?.from ?? from
    const after = overlaps[i]?.to ?? to
    if (before < (stages[i - 1]?.from ?? 0) || after > (stages[i + 1]?.to ?? to))
      return false
    const weights = weightBytes(room.costs, mode, before, after, i === 0)
    const budget = room.devices.find(({ id }) => id === stage.device)!.memoryBudget
    return weights + cacheBytes(room.costs, before, after, room.options) <= budget
  })
}

function* allOverlaps(
  stages: readonly PlannedStage[],
  most: number,
  i = 0,
): Generator<Overlap[]> {
  const [left, right] = [stages[i], stages[i + 1]]
  if (!left || !right) {
    yield []
    return
  }
  const boundary = left.to
  for (let from = Math.max(left.from, boundary - most); from <= boundary; from++)
    for (let to = boundary; to <= Math.min(right.to, boundary + most); to++)
      for (const rest of allOverlaps(stages, most, i + 1))
        yield [{ left: left.device, right: right.device, boundary, from, to }, ...rest]
}

describe('overlapLayers', () => {
  it('holds as many bytes twice as any arrangement that fits', () => {
    let [held, stagesSeen] = [0, 0]
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 2, max: 6 }), (seed, layers) => {
        const room = randomCase(seed, 4, layers, { load: 'stage', inFlight: Infinity })
        const plan = planLayers(room.costs, room.devices, room.links, room.options)
        if (plan.kind === 'short') return
        const { stages } = plan
        const most = seed % 3 === 0 ? 1 : Infinity
        const { costs, devices, options } = room
        const found = overlapLayers(stages, costs, devices, options, most)
        expect(found.length).toBe(stages.length - 1)
        expect(allowed(stages, found, room)).toBe(true)
        let best = 0
        for (const other of allOverlaps(stages, most))
          if (allowed(stages, other, room))
            best = Math.max(best, bytesOf(room.costs, other))
        expect(bytesOf(room.costs, found)).toBe(best)
        stagesSeen = Math.max(stagesSeen, stages.length)
        if (best > 0) held++
      }),
      { numRuns: 300 },
    )
    expect(held).toBeGreaterThan(20)
    expect(stagesSeen).toBeGreaterThan(2)
  })

  it('holds nothing twice without free memory', () => {
    const room = randomCase(4, 3, 6)
    const stages: PlannedStage[] = [
      { device: 'device a', from: 0, to: 3, mode: 'packed' },
      { device: 'device b', from: 3, to: 6, mode: 'packed' },
    ]
    const full = room.devices.map((device) => ({ ...device, memoryBudget: 0 }))
    const found = overlapLayers(stages, room.costs, full, room.options)
    expect(found).toMatchObject([{ boundary: 3, from: 3, to: 3 }])
  })
})
