/** The effects of a room as a browser has them. */
import { systemRandom } from './bytes.ts'
import { watchHealth } from './health.ts'
import { identify, type SmallStore } from './identity.ts'
import { PeerNetwork, sameOriginServer, type PeerNetworkOptions } from './peer-link.ts'
import type { Lifecycle } from './lifecycle.ts'
import type { RoomOptions } from './session.ts'
import { workerClock } from './worker-clock.ts'

export type BrowserEffects = Pick<
  RoomOptions,
  'network' | 'clock' | 'random' | 'lifecycle' | 'health' | 'identity' | 'page'
>

/** @param signalling another PeerServer, STUN or TURN than the page's own origin has. */
export function browserEffects(
  signalling: Partial<Omit<PeerNetworkOptions, 'lifecycle'>> = {},
): BrowserEffects {
  const lifecycle = pageLifecycle()
  const server = { ...sameOriginServer(location), ...signalling, lifecycle }
  return {
    network: new PeerNetwork(server),
    clock: workerClock(),
    random: systemRandom,
    lifecycle,
    health: watchHealth,
    identity: identify(tabStore(), systemRandom, Date.now()),
    page: location.href,
  }
}

export function pageLifecycle(): Lifecycle {
  return {
    onHide(listener) {
      addEventListener('pagehide', listener)
      return () => removeEventListener('pagehide', listener)
    },
    onShow(listener) {
      const shown = (): void => {
        if (document.visibilityState === 'visible') listener()
      }
      document.addEventListener('visibilitychange', shown)
      addEventListener('online', listener)
      return () => {
        document.removeEventListener('visibilitychange', shown)
        removeEventListener('online', listener)
      }
    },
  }
}

/** Survives a reload, but each tab has its own: two tabs are two devices. */
function tabStore(): SmallStore | null {
  try {
    return sessionStorage
  } catch {
    return null
  }
}
