/** The app in browsers that are not Chromium. */
import { deepQuery } from './fixtures/webdriver.ts'
import { firefoxMissing, launchFirefox } from './fixtures/firefox.ts'
import { expect, test } from './fixtures/room.ts'
import { SELECTORS } from './fixtures/selectors.ts'
import { launchWebKit, webkitMissing } from './fixtures/webkit.ts'

const START_MS = 60_000

test('the app opens in Firefox', async ({ server }) => {
  const missing = firefoxMissing()
  test.skip(missing !== null, missing ?? '')
  const browser = await launchFirefox()
  try {
    const page = await browser.newPage()
    const errors: string[] = []
    page.on('pageerror', (error) => errors.push(String(error)))
    await page.goto(server.origin)
    await page.waitForSelector(`>>> [data-testid="${SELECTORS.startRoom}"]`, {
      timeout: START_MS,
    })
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true)
    expect(errors).toEqual([])
  } finally {
    await browser.close()
  }
})

test('the app opens in WebKit', async ({ server }) => {
  const missing = webkitMissing()
  test.skip(missing !== null, missing ?? '')
  const webkit = await launchWebKit()
  try {
    await webkit.driver.goto(`${server.origin}/`)
    await webkit.driver.until(deepQuery(SELECTORS.startRoom), START_MS)
    expect(await webkit.driver.evaluate('return isSecureContext')).toBe(true)
  } finally {
    await webkit.close()
  }
})
