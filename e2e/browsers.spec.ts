/** Choir in browsers that are not Chromium. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { chromium } from '@playwright/test'
import type { Page as FirefoxPage } from 'puppeteer-core'
import * as v from 'valibot'
import { DIST } from '../app/serve/build.ts'
import { CHROMIUM_ARGS, ensureChromium } from './fixtures/chromium.ts'
import { DevicePage } from './fixtures/device-page.ts'
import { firefoxMissing, launchFirefox } from './fixtures/firefox.ts'
import { Reference } from './fixtures/reference.ts'
import { expect, test } from './fixtures/room.ts'
import { SELECTORS } from './fixtures/selectors.ts'
import { deepQuery, type WebDriver } from './fixtures/webdriver.ts'
import { launchWebKit, webkitMissing } from './fixtures/webkit.ts'

const START_MS = 60_000
const MODEL = 'genai-llama-int4-cpu'
const TOKENS = 16
/** The token that ends an answer. */
const END = 2
const GREEDY = {
  temperature: 0,
  topK: 0,
  topP: 1,
  repetitionPenalty: 1,
  maxTokens: TOKENS,
}
/** As the settings keep it: read when the page opens. */
const CHOSEN = JSON.stringify(GREEDY)
const room = (phones: number): string =>
  `/?model=/models/${MODEL}/&engine=wasm&threads=1&phones=${phones}`
const answerIds = v.object({
  promptIds: v.array(v.number()),
  tokenIds: v.array(v.number()),
})

async function isRight(answer: unknown): Promise<void> {
  const { promptIds, tokenIds } = v.parse(answerIds, answer)
  // The model may end its answer earlier, and only so.
  if (tokenIds.at(-1) !== END) expect(tokenIds).toHaveLength(TOKENS)
  expect(tokenIds.length).toBeGreaterThan(1)
  const reference = await Reference.open(MODEL)
  try {
    await reference.isGreedy(promptIds, tokenIds)
  } finally {
    await reference.release()
  }
}

test('Firefox and Chromium are stages of one room, and each may ask', async ({
  server,
}) => {
  const missing = firefoxMissing()
  test.skip(missing !== null, missing ?? '')
  const [firefox, browser] = await Promise.all([
    launchFirefox(),
    chromium.launch({
      executablePath: await ensureChromium(),
      // Else it hides its addresses behind names that Firefox can't look up here.
      args: [...CHROMIUM_ARGS, '--disable-features=WebRtcHideLocalIpsWithMdns'],
    }),
  ])
  try {
    const context = await browser.newContext()
    await context.addInitScript(
      (chosen) => localStorage.setItem('choir.settings', chosen),
      CHOSEN,
    )
    const anna = new DevicePage('anna', await context.newPage(), context, server.origin)
    await anna.startRoom(room(2))
    const link = await anna.link()

    const ben = await firefox.newPage()
    const errors: string[] = []
    ben.on('pageerror', (error) => errors.push(String(error)))
    await ben.goto(`${server.origin}/index.html`)
    await ben.evaluate((chosen) => localStorage.setItem('choir.settings', chosen), CHOSEN)
    await ben.goto(link)
    await anna.sees(2)
    await anna.ready()
    await isReady(ben)
    expect(await ben.evaluate(() => crossOriginIsolated)).toBe(true)
    const spans = await anna.page.evaluate(
      () => window.choir?.view.devices.map(({ self, span }) => ({ self, span })) ?? [],
    )
    expect(spans.map(({ self }) => self).sort()).toEqual([false, true])
    for (const { span } of spans) expect(span).not.toBeNull()

    await anna.askAndRead('From Chromium?')
    await isRight(await anna.page.evaluate(() => window.choir?.lastAnswer))

    await ben.type(marked(SELECTORS.askInput), 'From Firefox?')
    await ben.click(marked(SELECTORS.askSend))
    await ben.waitForSelector(
      `${marked(SELECTORS.messageAssistant)}[data-state="done"]`,
      {
        timeout: START_MS,
      },
    )
    await isRight(await ben.evaluate(() => window.choir?.lastAnswer))
    expect([...anna.errors, ...errors]).toEqual([])
  } finally {
    await Promise.all([firefox.close(), browser.close()])
  }
})

test('no part of a worker imports its first file: WebKit would run that twice', async () => {
  const assets = join(DIST, 'assets')
  const scripts = (await readdir(assets)).filter((name) => name.endsWith('.js'))
  expect(scripts.filter((name) => name.includes('.worker-')).length).toBeGreaterThan(3)
  const imported: string[] = []
  for (const name of scripts) {
    const code = await readFile(join(assets, name), 'utf8')
    for (const [, entry] of code.matchAll(
      /(?:from|import)\s*\(?\s*["'`]\.\/([\w.-]+\.worker-[\w-]+\.js)/g,
    ))
      imported.push(`${name} imports ${entry}`)
  }
  expect(imported).toEqual([])
})

test('WebKit without WebRTC, OPFS and shared memory answers alone and says why', async ({
  server,
}) => {
  const missing = webkitMissing()
  test.skip(missing !== null, missing ?? '')
  const webkit = await launchWebKit()
  const { driver } = webkit
  try {
    await driver.goto(`${server.origin}/`)
    await driver.evaluate(`localStorage.setItem('choir.settings', arguments[0])`, CHOSEN)
    await driver.goto(server.origin + room(1))
    await driver.until(deepQuery(SELECTORS.startRoom), START_MS)
    expect(await driver.evaluate('return isSecureContext')).toBe(true)
    const connects = await driver.evaluate(`return 'RTCPeerConnection' in globalThis`)
    await driver.click(deepQuery(SELECTORS.startRoom))
    await driver.until(`window.choir?.view.status.kind === 'ready'`, START_MS)
    if (connects !== true) {
      await driver.until(deepQuery(SELECTORS.notice), START_MS)
      expect(await textOf(driver, SELECTORS.notice)).toContain(
        'This browser cannot connect phones, so nobody can join this room.',
      )
    }
    await driver.type(deepQuery(SELECTORS.askInput), 'From WebKit?')
    await driver.click(deepQuery(SELECTORS.askSend))
    const answer = deepQuery(SELECTORS.messageAssistant)
    await driver.until(`(${answer})?.dataset.state === 'done'`, START_MS)
    await isRight(await driver.evaluate('return window.choir.lastAnswer'))
  } finally {
    await webkit.close()
  }
})

function marked(testId: string): string {
  return `>>> [data-testid="${testId}"]`
}

async function isReady(page: FirefoxPage): Promise<void> {
  await page.waitForSelector(`${marked(SELECTORS.roomStatus)}[data-status="ready"]`, {
    timeout: START_MS,
  })
}

function textOf(driver: WebDriver, testId: string): Promise<unknown> {
  return driver.evaluate(`return ${deepQuery(testId)}.textContent`)
}
