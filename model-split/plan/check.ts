/** Refuses measurements that no plan can be made from. */
import type { ModelCosts } from './costs.ts'
import type { PlanDevice, PlanLinks, PlanOptions } from './types.ts'

/** Sets of devices are kept as bits of one number. */
const MOST_DEVICES = 30

/** @throws Error with one sentence that names the first figure that is wrong. */
export function checkInputs(
  costs: ModelCosts,
  devices: readonly PlanDevice[],
  links: PlanLinks,
  options: PlanOptions,
): void {
  if (!Number.isSafeInteger(costs.layers) || costs.layers < 0)
    refuse(`The model's number of layers is ${costs.layers}, which cannot be.`)
  if (devices.length > MOST_DEVICES)
    refuse(
      `${devices.length} devices are too many to plan for; at most ${MOST_DEVICES} can run.`,
    )
  const ids = new Set(devices.map((device) => device.id))
  if (ids.size < devices.length)
    refuse('Two devices have the same id; each must have its own.')
  devices.forEach(checkDevice)
  checkMatrix('round-trip time', links.rttMs, devices, (x) => x >= 0)
  checkMatrix('bandwidth', links.bytesPerMs, devices, (x) => x > 0)
  atLeast('context', options.contextTokens, 0)
  atLeast('number of sequences', options.sequences, 1)
  atLeast('margin', options.margin ?? 0, 0)
  atLeast('tolerance', options.tolerance ?? 0, 0)
  if (options.inFlight !== undefined && !(options.inFlight >= 1))
    refuse(
      `The number of sequences in flight is ${options.inFlight}; it must be at least 1.`,
    )
  if (options.starter !== undefined && !ids.has(options.starter))
    refuse(`The starter "${options.starter}" is not one of the devices.`)
}

function checkDevice({ id, modes, msStarter, memoryBudget }: PlanDevice): void {
  if (modes.length === 0)
    refuse(`Device "${id}" has no measured speed; measure it first.`)
  for (const { mode, msPerLayer, msPerLayerPrefill } of modes)
    for (const ms of [msPerLayer, msPerLayerPrefill ?? 0])
      if (!(ms >= 0 && ms < Infinity))
        refuse(`Device "${id}" reports ${ms} ms per layer (${mode}); measure it again.`)
  if (msStarter !== undefined && !(msStarter >= 0 && msStarter < Infinity))
    refuse(
      `Device "${id}" reports ${msStarter} ms for embedding and head; measure it again.`,
    )
  if (!(memoryBudget >= 0 && memoryBudget < Infinity))
    refuse(
      `Device "${id}" reports a memory budget of ${memoryBudget} bytes; set it again.`,
    )
}

function checkMatrix(
  what: string,
  matrix: readonly (readonly number[])[],
  devices: readonly PlanDevice[],
  good: (x: number) => boolean,
): void {
  devices.forEach(({ id: from }, i) =>
    devices.forEach(({ id: to }, j) => {
      const x = matrix[i]?.[j]
      if (i !== j && (x === undefined || !good(x)))
        refuse(
          `The ${what} from "${from}" to "${to}" is ${x ?? 'missing'}; measure it again.`,
        )
    }),
  )
}

function atLeast(what: string, x: number, least: number): void {
  if (!(x >= least && x < Infinity))
    refuse(`The ${what} is ${x}; it must be at least ${least}.`)
}

function refuse(sentence: string): never {
  throw new Error(sentence)
}
