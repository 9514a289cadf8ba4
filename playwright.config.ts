import { defineConfig } from '@playwright/test'
import { CHROMIUM_ARGS, findChromium } from './e2e/fixtures/chromium.ts'

const executablePath = findChromium()

export default defineConfig({
  testDir: 'e2e',
  testMatch: '**/*.spec.ts',
  outputDir: 'test-results',
  globalSetup: './e2e/fixtures/global-setup.ts',
  // A room of several devices in one test keeps the machine busy enough.
  workers: 1,
  retries: 0,
  forbidOnly: Boolean(process.env['CI']),
  timeout: 180_000,
  globalTimeout: 20 * 60_000,
  expect: { timeout: 15_000 },
  reporter: [['list'], ['json', { outputFile: '.cache/reports/playwright.json' }]],
  use: {
    headless: true,
    viewport: { width: 412, height: 915 },
    // Without pictures: a film of every page takes more of the machine than the pages do.
    trace: { mode: 'retain-on-failure', screenshots: false },
    launchOptions: {
      args: CHROMIUM_ARGS,
      ...(executablePath !== null && { executablePath }),
    },
  },
})
