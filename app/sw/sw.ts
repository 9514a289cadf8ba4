/**
 * Keeps the app's shell for offline use and isolates the page where the server does not.
 * Weights are not its business: the shard store keeps them.
 */
import { clientsClaim } from 'workbox-core'
import {
  addPlugins,
  cleanupOutdatedCaches,
  createHandlerBoundToURL,
  precacheAndRoute,
  type PrecacheEntry,
} from 'workbox-precaching'
import { NavigationRoute, registerRoute } from 'workbox-routing'
import { CacheFirst } from 'workbox-strategies'
import { isolated } from './isolate.ts'
import { isRuntimeFile, messageFrom } from './messages.ts'

declare const self: ServiceWorkerGlobalScope & {
  readonly __WB_MANIFEST: (PrecacheEntry | string)[]
}

const RUNTIME_CACHE = 'choir-runtime'
const isolate = {
  handlerWillRespond: ({ response }: { response: Response }) =>
    Promise.resolve(isolated(response)),
}

addPlugins([isolate])
precacheAndRoute(self.__WB_MANIFEST)
cleanupOutdatedCaches()
registerRoute(
  new NavigationRoute(createHandlerBoundToURL('index.html'), {
    // Tried against path and search together: what the search names does not count.
    denylist: [
      /^[^?]*\/peer(?:\/|\?|$)/,
      /^[^?]*\/models\//,
      /^[^?]*\/choir-(?:ca\.crt|origin\.json)(?:\?|$)/,
    ],
  }),
)

const runtime = new CacheFirst({
  cacheName: RUNTIME_CACHE,
  // Imports name their origin and what is fetched below does not; the files are the same.
  matchOptions: { ignoreVary: true },
  plugins: [isolate],
})
registerRoute(({ url, sameOrigin }) => sameOrigin && isRuntimeFile(url), runtime)

// On the first visit the page is served at once, so that it is isolated and kept whole.
// A new version waits until people agree (`SKIP_WAITING`).
clientsClaim()

self.addEventListener('message', (event) => {
  const message = messageFrom(event.data, self.location.origin)
  if (message?.type === 'SKIP_WAITING') event.waitUntil(self.skipWaiting())
  if (message?.type === 'cache-runtime') event.waitUntil(keepOnly(message.urls))
})

/** Fetches what is missing and drops the bundles of other versions and engines. */
async function keepOnly(urls: readonly string[]): Promise<void> {
  const cache = await caches.open(RUNTIME_CACHE)
  const kept = await cache.keys()
  const stale = kept.filter((request) => !urls.includes(request.url))
  await Promise.all(stale.map((request) => cache.delete(request)))
  const missing = urls.filter((url) => !kept.some((request) => request.url === url))
  await Promise.all(missing.map((url) => cache.add(url)))
}
