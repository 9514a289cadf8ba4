/** The room's phones as they stand in the ring. Pure. */
import type { DeviceView, RoomView } from '../room/types.ts'

export interface RingPlace {
  readonly device: DeviceView
  /**
   * To the next phone of the ring, from the last one back to the first: half of the round
   * trip, ms; null until measured, or where the phone is alone in the ring.
   */
  readonly linkMs: number | null
}

export interface RoomRing {
  /** In ring order, the starter first. */
  readonly ring: readonly RingPlace[]
  /** Those who run nothing, in the order in which they joined. */
  readonly others: readonly DeviceView[]
}

export function ringOf({ devices }: Pick<RoomView, 'devices'>): RoomRing {
  const running = devices
    .filter(({ span, starter }) => span !== null || starter)
    .sort(
      (a, b) =>
        Number(b.starter) - Number(a.starter) ||
        (a.span?.from ?? 0) - (b.span?.from ?? 0),
    )
  return {
    ring: running.map((device, i) => {
      const next = running[(i + 1) % running.length]
      return { device, linkMs: next && running.length > 1 ? linkMs(device, next) : null }
    }),
    others: devices.filter((device) => !running.includes(device)),
  }
}

/** Either end may have measured it. */
function linkMs(from: DeviceView, to: DeviceView): number | null {
  const told =
    from.links.find(({ device }) => device === to.id)?.rttMs ??
    to.links.find(({ device }) => device === from.id)?.rttMs ??
    (to.self ? from.rttMs : from.self ? to.rttMs : null)
  return told === null ? null : told / 2
}

/** Whether hidden states travel now, as far as this phone knows. */
export function isSinging({
  messages,
  othersAsking,
}: Pick<RoomView, 'messages' | 'othersAsking'>): boolean {
  return othersAsking > 0 || messages.at(-1)?.state === 'streaming'
}
