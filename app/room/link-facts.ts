/** What a device tells of its links: steady figures, as every change is a message. */
import type { Facts } from './protocol.ts'

type LinkFacts = Facts['links'][number]

/** A round trip is told anew when it moves by more than this: ms, and a part of the old one. */
const STEADY_MS = 2
const STEADY_PART = 0.25

/**
 * @param known what was told last.
 * @param rtts round trips of now, ms.
 * @param bytesPerMs of the newest large transfer from a device, or null.
 */
export function linkFacts(
  known: readonly LinkFacts[],
  rtts: readonly Pick<LinkFacts, 'device' | 'rttMs'>[],
  bytesPerMs: (device: string) => number | null,
): LinkFacts[] {
  return rtts.map(({ device, rttMs }) => {
    const old = known.find((link) => link.device === device)
    return {
      device,
      rttMs: steady(old?.rttMs ?? null, rttMs, STEADY_MS),
      bytesPerMs: steady(old?.bytesPerMs ?? null, bytesPerMs(device), 0),
    }
  })
}

function steady(old: number | null, now: number | null, least: number): number | null {
  if (now === null) return old
  const still = old !== null && Math.abs(now - old) < least + old * STEADY_PART
  return still ? old : Number(now.toPrecision(2))
}
