/**
 * The planning problem as tables of whole numbers. Times are counted in units small enough to
 * lose nothing that was measured and large enough that every sum is exact: the answer then
 * does not depend on the order of additions, and ties are ties.
 */
import type { ModelCosts } from './costs.ts'
import { fittingMode, lackingBytes, starterMs } from './memory.ts'
import type { CacheReserve } from './memory.ts'
import type { PlanDevice, PlanLinks, Stage } from './types.ts'

/** Costs to be added up, or of which the largest counts. Infinity: not possible. */
export interface Tables {
  readonly devices: number
  readonly layers: number
  /** Work of each layer. */
  readonly work: readonly number[]
  /** Per device: a span `[from, to)` at `from * (layers + 1) + to`. */
  readonly span: readonly Float64Array[]
  /** Per device as starter with layers `[0, to)`, at `to`. */
  readonly start: readonly Float64Array[]
  /** From device i to j at `i * devices + j`: per border. */
  readonly link: readonly Float64Array[]
}

/** Time: what a lap takes, and for how long links are busy with a frame. */
export interface TimeTables extends Tables {
  /** As `start`, of the layers alone: what most rows of a prompt take. */
  readonly flow: readonly Float64Array[]
  readonly busy: readonly Float64Array[]
  readonly msPerUnit: number
}

/** Devices on the ring, starter first; indices into the tables. */
export interface Hop {
  readonly device: number
  readonly from: number
  readonly to: number
}

export function timeTables(
  costs: ModelCosts,
  devices: readonly PlanDevice[],
  links: PlanLinks,
  reserve: CacheReserve,
): TimeTables {
  const { layers } = costs
  const work = prefixSums(costs.work)
  const ms =
    (withHead: boolean) =>
    (device: PlanDevice, from: number, to: number, starter: boolean) => {
      const speed = fittingMode(costs, device, from, to, starter, reserve)
      if (!speed) return Infinity
      const layersMs = ((work[to] ?? 0) - (work[from] ?? 0)) * speed.msPerLayer
      return layersMs + (starter && withHead ? starterMs(costs, device, speed) : 0)
    }
  const spans = shape(layers, devices, ms(true))
  const flow = shape(layers, devices, ms(false)).start
  const busy: Float64Array[] = []
  const lag: Float64Array[] = []
  devices.forEach((_, i) =>
    devices.forEach((_, j) => {
      const rtt = i === j ? Infinity : (links.rttMs[i]?.[j] ?? Infinity)
      const transfer = costs.borderBytes.map(
        (bytes) => bytes / (links.bytesPerMs[i]?.[j] ?? 1),
      )
      busy.push(Float64Array.from(transfer, (t) => (rtt < Infinity ? t : Infinity)))
      lag.push(Float64Array.from(transfer, (t) => rtt / 2 + t))
    }),
  )
  const msPerUnit = unitFor([...spans.span, ...spans.start, ...lag], devices.length)
  const round = (table: Float64Array) => table.map((x) => Math.round(x / msPerUnit))
  return {
    devices: devices.length,
    layers,
    work: costs.work,
    span: spans.span.map(round),
    start: spans.start.map(round).map(preferLayers),
    flow: flow.map(round),
    link: lag.map(round),
    busy: busy.map(round),
    msPerUnit,
  }
}

/** Among rings that are equally good, the starter has layers of its own. */
function preferLayers(start: Float64Array): Float64Array {
  return start.map((x, to) => (to === 0 ? x + 1 : x))
}

/** Bytes that devices lack in their smallest mode; links only matter where there is none. */
export function shortfallTables(
  costs: ModelCosts,
  devices: readonly PlanDevice[],
  links: PlanLinks,
  reserve: CacheReserve,
): Tables {
  const { layers } = costs
  const lacking = (device: PlanDevice, from: number, to: number, starter: boolean) =>
    lackingBytes(costs, device, from, to, starter, reserve)
  const link = devices.flatMap((_, i) =>
    devices.map((_, j) => {
      const linked = i !== j && (links.rttMs[i]?.[j] ?? Infinity) < Infinity
      return new Float64Array(layers + 1).fill(linked ? 0 : Infinity)
    }),
  )
  return {
    devices: devices.length,
    layers,
    work: costs.work.map(() => 0),
    ...shape(layers, devices, lacking),
    link,
  }
}

/** The stage view: a link is as busy as its frame is long, its delay does not count. */
export function busyTables(tables: TimeTables): Tables {
  return { ...tables, link: tables.busy }
}

/** The prompt view: embedding and head, which run once a prompt, do not count. */
export function promptTables(tables: TimeTables): TimeTables {
  return { ...tables, start: tables.flow }
}

/**
 * The same tables without any stage or link that is busy for more than `most`.
 * @param starters what counts of stages that start: `tables.start`, or `tables.flow`.
 */
export function capped(
  tables: TimeTables,
  most: number,
  starters: TimeTables['start'] = tables.start,
): TimeTables {
  if (most === Infinity) return tables
  const cap = (table: Float64Array) => table.map((x) => (x > most ? Infinity : x))
  return {
    ...tables,
    span: tables.span.map(cap),
    start: tables.start.map((table, device) =>
      table.map((x, to) => ((starters[device]?.[to] ?? 0) > most ? Infinity : x)),
    ),
    link: tables.link.map((table, pair) =>
      table.map((x, border) =>
        (tables.busy[pair]?.[border] ?? 0) > most ? Infinity : x,
      ),
    ),
  }
}

/** The same tables, in which some devices can take nothing. */
export function without(
  tables: TimeTables,
  barred: (device: number) => boolean,
): TimeTables {
  const bar = (table: Float64Array, device: number) =>
    barred(device) ? table.map(() => Infinity) : table
  return { ...tables, span: tables.span.map(bar), start: tables.start.map(bar) }
}

/** The same tables where layers, and the role of the starter, cost a fee more on a device. */
export function withFees<T extends Tables>(
  tables: T,
  layerFee: (device: number, layer: number) => number,
  starterFee: (device: number) => number,
): T {
  const stride = tables.layers + 1
  const sums = Array.from({ length: tables.devices }, (_, device) =>
    prefixSums(
      Array.from({ length: tables.layers }, (__, layer) => layerFee(device, layer)),
    ),
  )
  const fees = (device: number, from: number, to: number) =>
    (sums[device]?.[to] ?? 0) - (sums[device]?.[from] ?? 0)
  return {
    ...tables,
    span: tables.span.map((table, device) =>
      table.map((x, at) => x + fees(device, Math.floor(at / stride), at % stride)),
    ),
    start: tables.start.map((table, device) =>
      table.map((x, to) => x + fees(device, 0, to) + starterFee(device)),
    ),
  }
}

/** Device of each layer in a plan, -1 for devices that are not there. */
export function holders(
  stages: readonly Stage[],
  devices: readonly { readonly id: string }[],
  layers: number,
): number[] {
  const device = new Array<number>(layers).fill(-1)
  for (const stage of stages) {
    const index = devices.findIndex(({ id }) => id === stage.device)
    device.fill(index, stage.from, stage.to)
  }
  return device
}

function shape(
  layers: number,
  devices: readonly PlanDevice[],
  value: (device: PlanDevice, from: number, to: number, starter: boolean) => number,
): Pick<Tables, 'span' | 'start'> {
  const stride = layers + 1
  return {
    start: devices.map((device) =>
      Float64Array.from({ length: stride }, (_, to) => value(device, 0, to, true)),
    ),
    span: devices.map((device) => {
      const table = new Float64Array(stride * stride).fill(Infinity)
      for (let from = 0; from < layers; from++)
        for (let to = from + 1; to <= layers; to++)
          table[from * stride + to] = value(device, from, to, false)
      return table
    }),
  }
}

/** A power of two in which the longest lap that can be is some 2^41. */
function unitFor(tables: readonly Float64Array[], devices: number): number {
  let largest = 0
  for (const table of tables)
    for (const x of table) if (x < Infinity) largest = Math.max(largest, x)
  if (largest === 0) return 1
  return 2 ** (Math.ceil(Math.log2(largest * 2 * (devices + 1))) - 41)
}

function prefixSums(items: readonly number[]): number[] {
  let sum = 0
  return [0, ...items.map((x) => (sum += x))]
}
