/** Tabs that each run their part of the layers for themselves, without a ring. */
import type { Browser, Page } from '@playwright/test'
import type { Span } from '../../model-split/span.ts'
import { buildPage } from '../fixtures/build-page.ts'
import { newPage } from './engines.ts'
import type { WeightMode } from '../../workers/stage/types.ts'
import type { BatchRun, HalfRun } from './half/half.worker.ts'
import type {} from './half/half.ts'
import { CUT } from './models.ts'
import { servePeers } from './peer-server.ts'

export interface LoneStages {
  /** All at the same time: chunks of `rows` rows after `past` rows, for so long. */
  work(rows: number, past: number, limitMs: number): Promise<HalfRun[]>
  /** As `work`, but one tab after another. */
  workInTurn(rows: number, past: number, limitMs: number): Promise<HalfRun[]>
  /** All at the same time: so many sequences that share a stage; see half.worker.ts. */
  batch(sequences: number, past: number, limitMs: number): Promise<BatchRun[]>
  close(): Promise<void>
}

/** The form of weights that a room's tabs choose. */
const MODE: WeightMode = 'lean'

/** @param parts the spans of each tab. */
export async function loneStages(
  browser: Browser,
  parts: readonly (readonly Span[])[],
): Promise<LoneStages> {
  const half = await buildPage('bench/half')
  const server = await servePeers({ half, cut: CUT })
  const pages: Page[] = []
  for (const spans of parts) {
    const page = await newPage(browser)
    await page.goto(`${server.origin}/models/half/index.html`)
    await page.waitForFunction(() => 'half' in window)
    await page.evaluate(([url, spans, mode]) => window.half.load(url, spans, mode), [
      `${server.origin}/models/cut/`,
      spans,
      MODE,
    ] as const)
    pages.push(page)
  }
  return {
    work: (...args) =>
      Promise.all(
        pages.map((page) => page.evaluate((args) => window.half.work(...args), args)),
      ),
    async workInTurn(...args) {
      const runs: HalfRun[] = []
      for (const page of pages)
        runs.push(await page.evaluate((args) => window.half.work(...args), args))
      return runs
    },
    batch: (...args) =>
      Promise.all(
        pages.map((page) => page.evaluate((args) => window.half.batch(...args), args)),
      ),
    async close() {
      for (const page of pages) await page.context().close()
      await server.close()
    },
  }
}
