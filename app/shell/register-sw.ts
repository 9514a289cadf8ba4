/** The page's side of the service worker: offline start, updates that ask, isolation. */
import { Workbox } from 'workbox-window'
import type { ShellMessage } from '../sw/messages.ts'

export interface ShellEvents {
  /** A new version waits; `apply` starts it and reloads the page. May come more than once. */
  onUpdate?(apply: () => void): void
  /** The app now opens without a network. */
  onOfflineReady?(): void
}

export type ShellState =
  | { readonly kind: 'registered' }
  /** No service workers here, as in development: the app works, but only online. */
  | { readonly kind: 'unsupported' }
  /** For people: why the app can't be kept for offline use. */
  | { readonly kind: 'refused'; readonly message: string }

const RELOADED = 'choir-reloaded-for-isolation'

export async function registerShell(events: ShellEvents = {}): Promise<ShellState> {
  if (import.meta.env.DEV || !('serviceWorker' in navigator))
    return { kind: 'unsupported' }
  const workbox = new Workbox(`${import.meta.env.BASE_URL}sw.js`)
  workbox.addEventListener('activated', ({ isUpdate }) => {
    if (!isUpdate) events.onOfflineReady?.()
  })
  let agreed = false
  workbox.addEventListener('waiting', () =>
    events.onUpdate?.(() => {
      agreed = true
      workbox.messageSkipWaiting()
    }),
  )
  workbox.addEventListener('controlling', ({ isUpdate }) => {
    if (agreed) location.reload()
    // Another tab agreed: this one may be in the middle of an answer.
    else if (isUpdate) events.onUpdate?.(() => location.reload())
  })
  try {
    await workbox.register({ immediate: true })
  } catch {
    return {
      kind: 'refused',
      message:
        'This phone does not trust the certificate of the computer that serves Choir, so Choir needs it each time it opens.',
    }
  }
  void isolate()
  return { kind: 'registered' }
}

/** Asks for a newer version now; it is otherwise looked for at each start. */
export async function checkForUpdate(): Promise<void> {
  const registration = await navigator.serviceWorker.getRegistration()
  await registration?.update()
}

/**
 * Keeps the runtime's files for offline use; call it once the device has chosen its engine.
 * Without a service worker it does nothing.
 */
export async function keepRuntime(urls: readonly string[]): Promise<void> {
  if (import.meta.env.DEV || !('serviceWorker' in navigator)) return
  if (!(await navigator.serviceWorker.getRegistration())) return
  const { active } = await navigator.serviceWorker.ready
  active?.postMessage({ type: 'cache-runtime', urls } satisfies ShellMessage)
}

/**
 * Where the server sends no isolation headers the service worker adds them, which takes effect
 * with the next load: reload, once per tab, before anybody has done anything.
 */
async function isolate(): Promise<void> {
  if (crossOriginIsolated || sessionStorage.getItem(RELOADED)) return
  await navigator.serviceWorker.ready
  // Set first: a browser that can't be isolated must not reload for ever.
  sessionStorage.setItem(RELOADED, '1')
  location.reload()
}
