/**
 * Devices of different speed on one computer: a browser each, whose renderers are stopped and
 * continued in turns. Throttling through the developer tools reaches the page but hardly its
 * workers.
 */
import { chromium, type Browser } from '@playwright/test'
import { CHROMIUM_ARGS, ensureChromium } from '../fixtures/chromium.ts'

/** A renderer runs for so long before it is stopped, ms: pauses are short beside a step. */
const RUN_MS = 2

export interface SlowableBrowser {
  readonly browser: Browser
  /** From now on its pages take `times` as long; 1: as ever. */
  slow(times: number): Promise<void>
  close(): Promise<void>
}

export async function openSlowable(): Promise<SlowableBrowser> {
  const executablePath = await ensureChromium()
  const browser = await chromium.launch({ executablePath, args: CHROMIUM_ARGS })
  let cycle: { stop: boolean; over: Promise<void> } | null = null
  const end = async (): Promise<void> => {
    if (cycle) cycle.stop = true
    await cycle?.over
    cycle = null
  }
  return {
    browser,
    async slow(times) {
      await end()
      if (times <= 1) return
      const state = { stop: false, over: Promise.resolve() }
      state.over = turns(await renderersOf(browser), times, () => state.stop)
      cycle = state
    },
    async close() {
      await end()
      await browser.close()
    },
  }
}

/** Stops for `times - 1` as long as it really ran: timers are late on a busy machine. */
async function turns(
  pids: readonly number[],
  times: number,
  stopped: () => boolean,
): Promise<void> {
  while (!stopped()) {
    const began = performance.now()
    await pause(RUN_MS)
    const halt = performance.now()
    send(pids, 'SIGSTOP')
    await pause((halt - began) * (times - 1))
    send(pids, 'SIGCONT')
  }
}

function send(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids)
    try {
      process.kill(pid, signal)
    } catch {
      // That renderer has ended.
    }
}

async function renderersOf(browser: Browser): Promise<number[]> {
  const session = await browser.newBrowserCDPSession()
  try {
    const { processInfo } = await session.send('SystemInfo.getProcessInfo')
    return processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => id)
  } finally {
    await session.detach()
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
