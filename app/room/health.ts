/** What the browser tells of the device under the page. */
import type { Facts } from './protocol.ts'

export type Health = Pick<Facts, 'battery' | 'visible'>

/** Tells now and at every change; the result stops it. */
export type WatchHealth = (listener: (health: Health) => void) => () => void

/** Part of the Battery Status API; Chromium only. */
interface Battery extends EventTarget {
  readonly level: number
  readonly charging: boolean
}

export const watchHealth: WatchHealth = (listener) => {
  const end = new AbortController()
  const { signal } = end
  let battery: Battery | null = null
  const tell = (): void => {
    // Told in steps of 5 %: every change is a message to all.
    const level = battery && Math.round(battery.level * 20) / 20
    listener({
      visible: document.visibilityState === 'visible',
      battery: battery && level !== null ? { level, charging: battery.charging } : null,
    })
  }
  document.addEventListener('visibilitychange', tell, { signal })
  tell()
  void askBattery().then((found) => {
    if (!found || signal.aborted) return
    battery = found
    for (const change of ['levelchange', 'chargingchange'])
      found.addEventListener(change, tell, { signal })
    tell()
  })
  return () => end.abort()
}

async function askBattery(): Promise<Battery | null> {
  const ask: unknown = Reflect.get(navigator, 'getBattery')
  if (typeof ask !== 'function') return null
  try {
    const found: unknown = await Reflect.apply(ask, navigator, [])
    return isBattery(found) ? found : null
  } catch {
    return null
  }
}

function isBattery(found: unknown): found is Battery {
  if (!(found instanceof EventTarget) || !('level' in found)) return false
  const { level } = found
  return typeof level === 'number' && level >= 0 && level <= 1 && 'charging' in found
}
