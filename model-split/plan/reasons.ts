/** Why a device has no layers, in a sentence for people. */
import type { Ring } from './search.ts'
import type { Hop, Tables } from './tables.ts'

/** What is asked about a device that was left out. */
export interface Question {
  readonly device: number
  /** The best ring (or the kept one) without it. */
  readonly ring: Pick<Ring, 'value' | 'hops'>
  readonly kept: boolean
  /** The best ring that it takes part in; undefined where that takes too long to find. */
  readonly forced?: () => Pick<Ring, 'value'> | null
}

export function whyLeftOut(
  tables: Tables,
  { device, ring, kept, forced }: Question,
): string {
  if (
    ![...(tables.span[device] ?? []), ...(tables.start[device] ?? [])].some(
      (x) => x < Infinity,
    )
  )
    return 'It lends too little memory for even one layer.'
  if (!ring.hops.some((hop) => linked(tables, device, hop)))
    return 'It has no link to the devices that run the model.'
  if (!forced) return 'The other devices run the model faster without it.'
  const other = forced()
  if (!other) return 'No split of the layers between the devices has a place for it.'
  const slower = other.value > ring.value
  const ratio = slower ? other.value / ring.value : ring.value / other.value
  const percent = Math.round((ratio - 1) * 100)
  if (!(percent > 0)) return 'With it the room would not be faster.'
  if (slower) return `With it every token would take ${percent} % longer.`
  return kept
    ? `With it the room would be ${percent} % faster, too little to move layers for.`
    : 'With it the room would hardly be faster, and more layers would have to move.'
}

function linked({ link, devices }: Tables, a: number, hop: Hop): boolean {
  return [a * devices + hop.device, hop.device * devices + a].every((pair) =>
    link[pair]?.some((x) => x < Infinity),
  )
}
