/** The app as it is served: headers, files, signalling, offline start, updates. */
import { readdir } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { join } from 'node:path'
import type { Page } from '@playwright/test'
import { DIST } from '../app/serve/build.ts'
import { expect, test } from './fixtures/room.ts'
import { SELECTORS } from './fixtures/selectors.ts'

test('the page is isolated, secure and free of errors', async ({ devices }) => {
  const device = await devices.add('phone')
  await device.open()
  await expect(device.mark('startRoom')).toBeVisible()
  expect(
    await device.page.evaluate(() => [isSecureContext, crossOriginIsolated]),
  ).toEqual([true, true])
  expect(device.errors).toEqual([])
})

test('foreign scripts, inline scripts and images from elsewhere are refused', async ({
  devices,
}) => {
  const device = await devices.add('phone')
  await device.open()
  const refused = await device.page.evaluate(async () => {
    const seen: string[] = []
    document.addEventListener('securitypolicyviolation', (event) =>
      seen.push(event.effectiveDirective),
    )
    const image = new Image()
    const failed = new Promise((resolve) => (image.onerror = resolve))
    image.src = 'http://127.0.0.1:9/spy.png'
    await failed
    const script = document.createElement('script')
    let trusted = 'accepted'
    try {
      script.textContent = 'window.stolen = true'
      document.body.append(script)
      document.body.innerHTML += '<b>'
    } catch {
      trusted = 'refused'
    }
    try {
      new Worker('data:text/javascript,0')
      trusted = 'accepted'
    } catch {
      // As it should be.
    }
    return { seen, trusted, stolen: 'stolen' in window }
  })
  expect(refused.stolen).toBe(false)
  expect(refused.trusted).toBe('refused')
  expect(refused.seen).toContain('img-src')
})

test('signalling answers on the origin of the app', async ({ devices, server }) => {
  const device = await devices.add('phone')
  await device.open()
  const message = await device.page.evaluate(
    () =>
      new Promise((resolve, reject) => {
        const url = new URL(
          '/peer/peerjs?key=peerjs&id=choir-test&token=t',
          location.href,
        )
        url.protocol = 'ws'
        const socket = new WebSocket(url)
        socket.onmessage = ({ data }) => {
          resolve(data)
          socket.close()
        }
        socket.onerror = () => reject(new Error('no signalling'))
      }),
  )
  expect(message).toBe('{"type":"OPEN"}')
  expect((await fetch(`${server.origin}/peer/`)).status).toBe(200)
  expect((await fetch(`${server.origin}/peer/peerjs/peers`)).status).toBe(404)
})

test('files that are not there are not the app', async ({ server }) => {
  for (const path of ['/assets/none.js', '/models/none/manifest.json', '/none.png'])
    expect((await fetch(server.origin + path)).status).toBe(404)
  const route = await fetch(`${server.origin}/anything`, {
    headers: { Accept: 'text/html' },
  })
  expect(route.status).toBe(200)
  const origins = await fetch(`${server.origin}/choir-origin.json`)
  expect(await origins.json()).toEqual({ origins: [] })
  expect(await rawStatus(server.origin, '/%ff%00')).toBe(400)
})

test('hashed files are kept for ever and others are asked for', async ({ server }) => {
  const page = await fetch(`${server.origin}/`)
  expect(page.headers.get('cache-control')).toBe('no-cache')
  expect(page.headers.get('content-security-policy')).toContain("frame-ancestors 'none'")
  const asset = /\/assets\/[^"]+\.js/.exec(await page.text())?.[0] ?? ''
  const script = await fetch(server.origin + asset)
  expect(script.headers.get('cache-control')).toContain('immutable')
  expect(script.headers.get('cross-origin-embedder-policy')).toBe('require-corp')
})

test('after one visit the app opens offline, without weights or unused runtimes', async ({
  devices,
}) => {
  const device = await devices.add('phone')
  await device.open()
  await controlled(device.page)
  await device.context.setOffline(true)
  await device.page.goto(`${device.origin}/some/route`)
  await expect(device.mark('startRoom')).toBeVisible()
  expect(await device.page.evaluate(() => crossOriginIsolated)).toBe(true)
  const kept = await device.page.evaluate(async () => {
    const keys = await caches.keys()
    const all = await Promise.all(
      keys.map(async (key) => (await caches.open(key)).keys()),
    )
    return all.flat().map(({ url }) => new URL(url).pathname)
  })
  expect(kept).toContain('/index.html')
  expect(kept.filter((path) => /\/models\/|\.wasm$/.test(path))).toEqual([])
})

test('an update waits until people agree, in each tab', async ({ devices, server }) => {
  const device = await devices.add('phone')
  await device.open()
  await controlled(device.page)
  const other = await device.context.newPage()
  await other.goto(device.origin)
  server.publish()
  const before = await device.page.evaluate(() => performance.timeOrigin)
  await device.page.evaluate(async () => {
    await (await navigator.serviceWorker.getRegistration())?.update()
  })
  await expect(device.mark('updateReload')).toBeVisible()
  expect(await device.page.evaluate(() => performance.timeOrigin)).toBe(before)
  const reloaded = device.page.waitForEvent('domcontentloaded')
  await device.mark('updateReload').click()
  await reloaded
  await expect(device.mark('startRoom')).toBeVisible()
  await expect(other.getByTestId(SELECTORS.updateReload)).toBeVisible()
  const waiting = await device.page.evaluate(
    async () => (await navigator.serviceWorker.getRegistration())?.waiting ?? null,
  )
  expect(waiting).toBeNull()
})

test('only the runtime that the device uses is kept', async ({ devices }) => {
  const device = await devices.add('phone')
  await device.open()
  await controlled(device.page)
  const keep = (urls: readonly string[]): Promise<string[]> =>
    device.page.evaluate(async (wanted) => {
      const { active } = await navigator.serviceWorker.ready
      active?.postMessage({ type: 'cache-runtime', urls: wanted })
      const cache = await caches.open('choir-runtime')
      const names = async (): Promise<string[]> =>
        (await cache.keys()).map(({ url }) => new URL(url).pathname)
      // A cache has no events.
      while (!(await names()).includes(wanted.at(-1) ?? ''))
        await new Promise((resolve) => setTimeout(resolve, 20))
      return names()
    }, urls)
  const assets = (await readdir(join(DIST, 'assets'))).map((name) => `/assets/${name}`)
  const wasm = (kind: RegExp): string => assets.find((path) => kind.test(path)) ?? ''
  const [jspi, plain] = [wasm(/\.jspi-.*\.wasm$/), wasm(/threaded-.*\.wasm$/)]
  expect(await keep([jspi])).toEqual([jspi])
  expect(await keep(['/models/x/shards/0.bin', plain])).toEqual([plain])
  await device.context.setOffline(true)
  const bytes = await device.page.evaluate(async (url) => {
    const response = await fetch(url)
    return (await response.arrayBuffer()).byteLength
  }, plain)
  expect(bytes).toBeGreaterThan(10_000_000)
})

/** Resolves once the service worker answers for the page. */
async function controlled(page: Page): Promise<void> {
  await page.evaluate(async () => {
    await navigator.serviceWorker.ready
    if (navigator.serviceWorker.controller) return
    await new Promise((resolve) =>
      navigator.serviceWorker.addEventListener('controllerchange', resolve, {
        once: true,
      }),
    )
  })
}

/** `fetch` would repair the path. */
function rawStatus(origin: string, path: string): Promise<number | undefined> {
  const { hostname, port } = new URL(origin)
  return new Promise((resolve, reject) => {
    httpRequest({ hostname, port, path }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
      .on('error', reject)
      .end()
  })
}
