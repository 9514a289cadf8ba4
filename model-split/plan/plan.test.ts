import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { covers, evaluatePlan } from './evaluate.ts'
import { lackingBytes } from './memory.ts'
import { planLayers } from './plan.ts'
import { allFitting, allPlans, randomCase, valueOf } from './testing/rooms.ts'
import type { Case } from './testing/rooms.ts'
import type { Plan, PlanOptions, Stage } from './types.ts'

const plan = (
  { costs, devices, links, options }: Case,
  more: Partial<PlanOptions> = {},
) => planLayers(costs, devices, links, { ...options, ...more })

const cases = (least: number, options: Partial<PlanOptions> = {}) =>
  fc
    .record({
      seed: fc.nat(),
      count: fc.integer({ min: least, max: 4 }),
      layers: fc.integer({ min: 1, max: 6 }),
      load: fc.constantFrom('lap' as const, 'stage' as const),
      inFlight: fc.constantFrom(1, 2, 3, 5, Infinity),
    })
    .map(({ seed, count, layers, load, inFlight }) =>
      randomCase(seed, count, layers, { load, inFlight, ...options }),
    )

const runs = { numRuns: 400 }

describe('planLayers', () => {
  it('finds what trying every plan finds', () => {
    const seen = { plan: 0, short: 0 }
    fc.assert(
      fc.property(cases(1), (room) => {
        const found = plan(room)
        const all = allFitting(room)
        seen[found.kind]++
        expect(found.kind).toBe(all.length > 0 ? 'plan' : 'short')
        if (found.kind === 'short') return
        const best = Math.min(...all.map((other) => valueOf(room, other)))
        expect(valueOf(room, found)).toBeCloseTo(best, 6)
        const ties = all.filter((other) => valueOf(room, other) <= best + 1e-9)
        expect(found.lapMs).toBeCloseTo(Math.min(...ties.map(({ lapMs }) => lapMs)), 6)
      }),
      runs,
    )
    expect(Math.min(seen.plan, seen.short)).toBeGreaterThan(20)
  })

  it('gives contiguous spans that cover the model once and fit', () => {
    fc.assert(
      fc.property(cases(1), (room) => {
        const found = plan(room)
        if (found.kind === 'short') return
        const { stages } = found
        expect(covers(stages, room.costs.layers)).toBe(true)
        expect(stages.reduce((sum, { from, to }) => sum + to - from, 0)).toBe(
          room.costs.layers,
        )
        expect(new Set(stages.map(({ device }) => device)).size).toBe(stages.length)
        const check = evaluatePlan(
          stages,
          room.costs,
          room.devices,
          room.links,
          room.options,
        )
        expect(check?.stages).toEqual(stages)
        expect(check?.lapMs).toBe(found.lapMs)
        expect(Math.min(...(check?.freeBytes ?? [-1]))).toBeGreaterThanOrEqual(0)
        // The context that it promises fits, and one row more does not.
        const fits = (contextTokens: number) =>
          check !== null &&
          stages.every((stage, i) => {
            const device = room.devices.find(({ id }) => id === stage.device)!
            const only = { ...device, modes: [{ mode: stage.mode, msPerLayer: 1 }] }
            const { from, to } = stage
            const reserve = { contextTokens, sequences: room.options.sequences }
            return lackingBytes(room.costs, only, from, to, i === 0, reserve) === 0
          })
        expect(fits(found.contextTokens)).toBe(true)
        if (found.contextTokens < room.costs.context)
          expect(fits(found.contextTokens + 1)).toBe(false)
      }),
      runs,
    )
  })

  it('says how many bytes the room lacks, and a plan fits once they are there', () => {
    fc.assert(
      fc.property(cases(1), (room) => {
        const found = plan(room)
        if (found.kind === 'plan') return
        const { costs, devices, options, links } = room
        let least = {
          sum: Infinity,
          one: [] as readonly Stage[],
          lacking: [] as number[],
        }
        for (const one of allPlans(
          devices.map(({ id }) => id),
          costs.layers,
        )) {
          const hops = one.map(({ device }) =>
            devices.findIndex(({ id }) => id === device),
          )
          const linked = hops.every((a, i) => {
            const b = hops[(i + 1) % hops.length]!
            return a === b || links.rttMs[a]![b]! < Infinity
          })
          if (!linked) continue
          const lacking = one.map(({ from, to }, i) =>
            lackingBytes(costs, devices[hops[i]!]!, from, to, i === 0, options),
          )
          const sum = lacking.reduce((a, b) => a + b, 0)
          if (sum < least.sum) least = { sum, one, lacking }
        }
        expect(found.missingBytes).toBe(least.sum)
        const richer = devices.map((device) => {
          const at = least.one.findIndex((stage) => stage.device === device.id)
          return {
            ...device,
            memoryBudget: device.memoryBudget + (least.lacking[at] ?? 0),
          }
        })
        expect(planLayers(costs, richer, links, options).kind).toBe('plan')
      }),
      runs,
    )
  })

  it('does not depend on who is listed first', () => {
    fc.assert(
      fc.property(cases(2), fc.nat(), (room, turn) => {
        const { devices, links } = room
        const order = devices.map((_, i) => (i + turn) % devices.length).reverse()
        const pick = (matrix: readonly (readonly number[])[]) =>
          order.map((i) => order.map((j) => matrix[i]![j]!))
        const other = plan({
          ...room,
          devices: order.map((i) => devices[i]!),
          links: { rttMs: pick(links.rttMs), bytesPerMs: pick(links.bytesPerMs) },
        })
        const found = plan(room)
        expect(other).toEqual(found)
        expect(plan(room)).toEqual(found)
      }),
      runs,
    )
  })

  it('gives a reason for every device that it leaves out', () => {
    const reasons = new Set<string>()
    fc.assert(
      fc.property(cases(2), (room) => {
        const found = plan(room)
        if (found.kind === 'short') return
        const named = [...found.stages, ...found.leftOut]
          .map(({ device }) => device)
          .sort()
        expect(named).toEqual(room.devices.map(({ id }) => id).sort())
        for (const { device, why } of found.leftOut) {
          reasons.add(why.replace(/\d+/, 'N'))
          const percent = Number(/every token would take (\d+) %/.exec(why)?.[1] ?? NaN)
          if (Number.isNaN(percent)) continue
          const withIt = allFitting(room).filter(({ stages }) =>
            stages.some((stage) => stage.device === device),
          )
          const best = Math.min(...withIt.map((other) => valueOf(room, other)))
          expect(Math.round((best / valueOf(room, found) - 1) * 100)).toBe(percent)
        }
      }),
      runs,
    )
    expect([...reasons]).toEqual(
      expect.arrayContaining([
        'It lends too little memory for even one layer.',
        'With it every token would take N % longer.',
      ]),
    )
  })

  it('keeps to the starter that is asked for', () => {
    fc.assert(
      fc.property(cases(2), fc.nat(), (room, i) => {
        const starter = room.devices[i % room.devices.length]!.id
        const all = allFitting(room).filter(({ stages }) => stages[0]!.device === starter)
        const found = plan(room, { starter })
        expect(found.kind).toBe(all.length > 0 ? 'plan' : 'short')
        if (found.kind === 'short') return
        expect(found.stages[0]?.device).toBe(starter)
        const best = Math.min(...all.map((other) => valueOf(room, other)))
        expect(valueOf(room, found)).toBeCloseTo(best, 6)
      }),
      runs,
    )
  })

  it('runs a model on one device, and says what a room without memory lacks', () => {
    const room = randomCase(1, 1, 5)
    const [device] = room.devices
    const rich = { ...room, devices: [{ ...device!, memoryBudget: 1e6 }] }
    const found = plan(rich) as Plan
    expect(found.stages).toMatchObject([{ device: device!.id, from: 0, to: 5 }])
    expect(found.leftOut).toEqual([])
    const poor = { ...room, devices: [{ ...device!, memoryBudget: 0 }] }
    const lacking = lackingBytes(room.costs, poor.devices[0]!, 0, 5, true, room.options)
    expect(plan(poor)).toEqual({ kind: 'short', missingBytes: lacking })
    expect(plan({ ...room, devices: [] })).toMatchObject({ kind: 'short' })
  })

  it.each<[string, (room: Case) => Case]>([
    ['a memory budget of NaN', (r) => device(r, { memoryBudget: NaN })],
    ['a memory budget of -1', (r) => device(r, { memoryBudget: -1 })],
    [
      '-2 ms per layer',
      (r) => device(r, { modes: [{ mode: 'packed', msPerLayer: -2 }] }),
    ],
    [
      'NaN ms per layer',
      (r) => device(r, { modes: [{ mode: 'lean', msPerLayer: NaN }] }),
    ],
    ['no measured speed', (r) => device(r, { modes: [] })],
    ['NaN ms for embedding', (r) => device(r, { msStarter: NaN })],
    ['same id', (r) => device(r, { id: 'device b' })],
    [
      'round-trip time',
      (r) => ({
        ...r,
        links: {
          ...r.links,
          rttMs: [
            [0, -1],
            [1, 0],
          ],
        },
      }),
    ],
    [
      'bandwidth',
      (r) => ({
        ...r,
        links: {
          ...r.links,
          bytesPerMs: [
            [0, 0],
            [1, 0],
          ],
        },
      }),
    ],
    ['bandwidth', (r) => ({ ...r, links: { ...r.links, bytesPerMs: [] } })],
    ['context', (r) => ({ ...r, options: { ...r.options, contextTokens: NaN } })],
    ['sequences', (r) => ({ ...r, options: { ...r.options, sequences: 0 } })],
    ['in flight', (r) => ({ ...r, options: { ...r.options, inFlight: NaN } })],
    ['starter', (r) => ({ ...r, options: { ...r.options, starter: 'nobody' } })],
  ])('refuses %s in one sentence', (words, spoil) => {
    const room = spoil(randomCase(3, 2, 4))
    expect(() => plan(room)).toThrow(new RegExp(`^[A-Z][^.]*${words}[^.]*\\.$`))
  })
})

function device(room: Case, change: Partial<Case['devices'][number]>): Case {
  return {
    ...room,
    devices: [{ ...room.devices[0]!, ...change }, ...room.devices.slice(1)],
  }
}
