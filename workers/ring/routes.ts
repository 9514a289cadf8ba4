/** Where border tensors go under a plan, as one device sees it. */
import type { BorderTensor, Manifest } from '../../model-split/manifest.ts'
import { segmentsOf, type Span } from '../../model-split/span.ts'
import { rowAxis } from '../stage/tensors.ts'
import { cachedLayers } from './limits.ts'
import { spansOf, type RingPlan } from './types.ts'

/** A tensor that a span of this device reads from an earlier span. */
export interface Input {
  readonly name: string
  readonly tensor: BorderTensor
  /** The one device whose frames are believed. */
  readonly from: string
  /** Index of the reading span on this device. */
  readonly span: number
}

/** A tensor that a span of this device gives. */
export interface Output {
  readonly index: number
  readonly name: string
  readonly tensor: BorderTensor
  readonly to: readonly { readonly device: string; readonly head: boolean }[]
}

export interface OwnSpan {
  readonly span: Span
  /** Input tensors by index. */
  readonly inputs: readonly number[]
  readonly outputs: readonly Output[]
  /** Its layers that have caches. */
  readonly layers: readonly number[]
  /** It does nothing but the head: it runs for last rows only. */
  readonly headOnly: boolean
}

export interface Routes {
  readonly plan: RingPlan
  readonly self: string
  readonly starter: string
  readonly spans: readonly OwnSpan[]
  readonly inputs: ReadonlyMap<number, Input>
  /** The stage before and after this one in the ring, itself if it is alone. */
  readonly previous: string
  readonly next: string
  readonly lastStage: boolean
  /** The head is given the last row of a chunk only. */
  readonly headLastRow: boolean
}

/**
 * Routes of a device, or null where the plan gives it nothing to run.
 * @throws Error if the plan's spans don't cover the model, each layer once, in order.
 */
export function routesOf(
  manifest: Manifest,
  plan: RingPlan,
  self: string,
): Routes | null {
  checkPlan(manifest, plan)
  const all = plan.stages.flatMap(({ device }, stage) =>
    spansOf(plan, stage, manifest.layers).map((span, index) => {
      const [start, end] = segmentsOf(manifest, span)
      const headOnly = start === manifest.layers + 1
      return { device, span, index, start, end, headOnly }
    }),
  )
  const holder = (segment: number) =>
    all.find(({ start, end }) => segment >= start && segment < end)
  const at = plan.stages.findIndex(({ device }) => device === self)
  const starter = plan.stages[0]?.device
  if (at < 0 || starter === undefined) return null
  const tensors = Object.entries(manifest.tensors)
  const around = (step: number) =>
    plan.stages[(at + step + plan.stages.length) % plan.stages.length]?.device ?? self

  const inputs = new Map<number, Input>()
  const spans = all
    .filter(({ device }) => device === self)
    .map(({ span, index, start, end, headOnly }): OwnSpan => {
      const own: number[] = []
      const outputs: Output[] = []
      for (const [i, [name, tensor]] of tensors.entries()) {
        const from = holder(tensor.from)
        const inside = (segment: number) => segment >= start && segment < end
        if (from && !inside(tensor.from) && tensor.to.some(inside)) {
          own.push(i)
          inputs.set(i, { name, tensor, from: from.device, span: index })
        }
        if (!inside(tensor.from)) continue
        const readers = new Set(tensor.to.map(holder).filter((h) => h && h !== from))
        const to = [...readers].flatMap((h) =>
          h ? [{ device: h.device, head: h.headOnly }] : [],
        )
        if (to.length > 0) outputs.push({ index: i, name, tensor, to })
      }
      return {
        span,
        inputs: own,
        outputs,
        layers: cachedLayers(manifest, span),
        headOnly,
      }
    })

  const headInputs = tensors.filter(
    ([, { to }]) =>
      to.includes(manifest.layers + 1) && holder(manifest.layers + 1)?.headOnly,
  )
  return {
    plan,
    self,
    starter,
    spans,
    inputs,
    previous: around(-1),
    next: around(1),
    lastStage: at === plan.stages.length - 1,
    headLastRow: headInputs.every(([, { dims }]) => rowAxis(dims) !== null),
  }
}

/** Devices that this one exchanges hidden states with. */
export function neighboursOf(routes: Routes | null): ReadonlySet<string> {
  const found = new Set<string>()
  if (!routes) return found
  for (const { from } of routes.inputs.values()) found.add(from)
  for (const { outputs } of routes.spans)
    for (const { to } of outputs) for (const { device } of to) found.add(device)
  found.delete(routes.self)
  return found
}

/** @throws Error */
function checkPlan({ layers }: Manifest, { stages }: RingPlan): void {
  let next = 0
  const devices = new Set<string>()
  for (const [i, { device, from, to }] of stages.entries()) {
    if (from !== next || to < from || (to === from && i > 0) || devices.has(device))
      throw new Error(
        'The plan does not give every layer to one phone; the room makes a new one.',
      )
    devices.add(device)
    next = to
  }
  if (next !== layers)
    throw new Error('The plan does not cover the whole model; the room makes a new one.')
}
