/** What a message from a tab's worker to another's takes at least on this computer. */
import type { Browser } from '@playwright/test'
import { buildPage } from '../fixtures/build-page.ts'
import type {} from './bare/bare.ts'
import { newPage } from './engines.ts'
import { servePeers } from './peer-server.ts'
import { median } from './rows.ts'

const MESSAGES = 300
/** A row of the default model's hidden states with its headers. */
const BYTES = 2350
/** Both ends compute in turns, as two stages do. */
const WORK_MS = 15

/** Median of half of the way of messages of so many bytes there and back, ms. */
export async function bareHop(
  browser: Browser,
  bytes = BYTES,
  messages = MESSAGES,
): Promise<number> {
  const bare = await buildPage('bench/bare')
  const server = await servePeers({ bare })
  const pages = [await newPage(browser), await newPage(browser)] as const
  const [a, b] = pages
  try {
    for (const page of pages) {
      await page.goto(`${server.origin}/models/bare/index.html`)
      await page.waitForFunction(() => 'bare' in window)
      await page.evaluate(() => window.bare.open())
    }
    const offer = await a.evaluate(() => window.bare.offer())
    const answer = await b.evaluate((sdp) => window.bare.answer(sdp), offer)
    await a.evaluate((sdp) => window.bare.accept(sdp), answer)
    await b.evaluate((ms) => window.bare.echo(ms), WORK_MS)
    const times = await a.evaluate((args) => window.bare.times(...args), [
      messages,
      bytes,
      WORK_MS,
    ] as const)
    return median(times) / 2
  } finally {
    for (const page of pages) await page.context().close()
    await server.close()
  }
}
