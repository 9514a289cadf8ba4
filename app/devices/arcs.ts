/** The ring picture of a room. */
import type { DeviceView } from '../room/types.ts'
import { deviceFraction } from './progress.ts'
import type { Arc } from './ring.ts'
import type { Voices } from './voices.ts'

/** In ring order: by layers, those who run none leave no arc. */
export function arcsOf(devices: readonly DeviceView[], voices: Voices): Arc[] {
  const colours = new Map(devices.map(({ id }) => [id, voices.of(id)]))
  const running = devices.filter(({ span }) => span && span.to > span.from)
  const shown = running.length > 0 ? running : devices
  return [...shown]
    .sort((a, b) => (a.span?.from ?? 0) - (b.span?.from ?? 0))
    .map((device) => ({
      colour: colours.get(device.id) ?? 'var(--line)',
      share: device.span ? device.span.to - device.span.from || 1 : 1,
      done: deviceFraction(device),
    }))
}
