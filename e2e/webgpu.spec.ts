/**
 * The graphics engine in the built app, on Chromium's software adapter: slow, but it computes
 * as a chip does. There is no adapter without the flag.
 */
import { chromium, type Browser } from '@playwright/test'
import { servePeers } from './bench/peer-server.ts'
import type {} from './engine/engine.ts'
import { buildPage } from './fixtures/build-page.ts'
import { CHROMIUM_ARGS, ensureChromium } from './fixtures/chromium.ts'
import { DevicePage } from './fixtures/device-page.ts'
import { stageWorker, witnessGpu, type GpuCounts } from './fixtures/gpu-witness.ts'
import { Reference } from './fixtures/reference.ts'
import { expect, test } from './fixtures/room.ts'
import type { AppServer } from './fixtures/server.ts'
import { TEST_MODELS } from './fixtures/test-models.ts'

const MODEL = 'genai-llama-int4-cpu'
/**
 * Caches that grow in place; and caches that are made anew in each run, with a tensor that
 * several layers read. With the second only the checks in which that makes a difference.
 */
const SUITES = [
  { model: MODEL, only: /./ },
  { model: 'llama-value-residual', only: /chain|layout/ },
]
const READY_MS = 150_000
/** Read-backs of one token on a lone device: its logits. */
const READS = 1
const LOGITS_BYTES = 512 * 4

let browser: Browser
let reference: Reference
test.beforeAll(async () => {
  reference = await Reference.open(MODEL)
  browser = await chromium.launch({
    executablePath: await ensureChromium(),
    args: [...CHROMIUM_ARGS, '--enable-unsafe-webgpu'],
  })
})
test.afterAll(async () => {
  await browser.close()
  await reference.release()
})

async function alone(
  server: AppServer,
  engine: 'auto' | 'webgpu',
  options: { readonly lies?: boolean } = {},
): Promise<DevicePage> {
  const context = await browser.newContext({ serviceWorkers: 'block' })
  await context.addInitScript(greedyWithoutDrafts)
  await witnessGpu(context, options)
  const device = new DevicePage('anna', await context.newPage(), context, server.origin)
  await device.startRoom(`/?model=/models/${MODEL}/&engine=${engine}&threads=1&phones=1`)
  await device.ready(READY_MS)
  return device
}

/** One lap, one token. */
function greedyWithoutDrafts(): void {
  const greedy = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1 }
  const settings = { ...greedy, maxTokens: 16, speculate: false }
  if (location.protocol === 'http:')
    localStorage.setItem('choir.settings', JSON.stringify(settings))
}

const engineOf = ({ page }: DevicePage): Promise<string | undefined> =>
  page.evaluate(() => window.choir?.view.devices.find(({ self }) => self)?.engine)
const noticeOf = ({ page }: DevicePage): Promise<string> =>
  page.evaluate(() => window.choir?.view.notice ?? '')

for (const { model, only } of SUITES)
  test(`WebGPU does what every engine must with ${model}`, async () => {
    const page = await browser.newPage()
    const server = await servePeers({
      page: await buildPage('engine'),
      tests: TEST_MODELS,
    })
    try {
      await page.goto(`${server.origin}/models/page/index.html`)
      await page.waitForFunction(() => 'engineSuite' in window)
      const url = `${server.origin}/models/tests/${model}/`
      const all = await page.evaluate((url) => window.engineSuite.open(url), url)
      const checks = all.filter((check) => only.test(check))
      expect(checks.length).toBeGreaterThan(3)
      for (const check of checks)
        await test.step(check, () =>
          page.evaluate((check) => window.engineSuite.run(check), check),
        )
    } finally {
      await page.close()
      await server.close()
    }
  })

test('WebGPU answers right, a token moves only what it needs, and an answer goes on without the chip', async ({
  server,
}) => {
  const anna = await alone(server, 'webgpu')
  expect(await engineOf(anna)).toBe('webgpu')
  const worker = await stageWorker(anna.page)
  const readsBefore = await worker.evaluate(() => gpuWitness?.now().reads ?? NaN)
  await anna.askAndRead('Why?')
  await reference.check(anna, 16)
  const { atRead, reads } = await worker.evaluate(() => ({
    atRead: [...(gpuWitness?.atRead ?? [])],
    reads: gpuWitness?.now().reads ?? NaN,
  }))
  // The prompt and 15 tokens; the last one needs not be read.
  expect(reads - readsBefore).toBeLessThanOrEqual(16 * READS)
  const ofTokens = atRead.slice(-6 * READS - 1).filter((_, i) => i % READS === 0)
  const steps = ofTokens.slice(1).map((now, i) => difference(now, ofTokens[i]))
  expect(steps).toHaveLength(6)
  for (const step of steps) {
    expect(step.pipelines).toBe(0)
    // What the runtime writes an id and the length of the cache through; nothing else is made.
    expect(step.buffers).toBeLessThanOrEqual(2)
    expect(step.bufferBytes).toBeLessThanOrEqual(16)
    // Ids, shapes and parameters of kernels: neither weights nor caches nor hidden states.
    expect(step.uploads).toBeLessThanOrEqual(39)
    expect(step.uploadBytes).toBeLessThan(2304)
    expect(step.submits).toBeLessThanOrEqual(8)
    expect(step.readBytes).toBe(LOGITS_BYTES)
  }

  await anna.page.evaluate(() => window.choir?.clear())
  await anna.askFor(24, 'Why?')
  await anna.page.waitForFunction(
    () => (window.choir?.lastAnswer?.tokenIds.length ?? 0) > 2,
  )
  await worker.evaluate(() => gpuWitness?.lose())
  await anna.answerIs('done')
  await reference.check(anna, 24)
  expect(await engineOf(anna)).toBe('wasm')
  expect(await noticeOf(anna)).toMatch(/^The graphics chip .* stopped working/)
  await anna.context.close()
})

test('a graphics chip that computes wrongly does not serve', async ({ server }) => {
  const anna = await alone(server, 'webgpu', { lies: true })
  expect(await engineOf(anna)).toBe('wasm')
  expect(await noticeOf(anna)).toMatch(/^The model runs on the processor.* wrongly/)
  await anna.askAndRead('Why?')
  await reference.check(anna, 16)
  await anna.context.close()
})

test('left to choose, a device passes over an emulated graphics chip', async ({
  server,
}) => {
  const anna = await alone(server, 'auto')
  expect(await engineOf(anna)).toBe('wasm')
  expect(await noticeOf(anna)).toMatch(/emulated/)
  await anna.context.close()
})

function difference(now: GpuCounts, before: GpuCounts | undefined): GpuCounts {
  const { buffers, bufferBytes, uploads, uploadBytes, submits, ...rest } = now
  const { pipelines, reads, readBytes, arrived } = rest
  return {
    buffers: buffers - (before?.buffers ?? 0),
    bufferBytes: bufferBytes - (before?.bufferBytes ?? 0),
    uploads: uploads - (before?.uploads ?? 0),
    uploadBytes: uploadBytes - (before?.uploadBytes ?? 0),
    submits: submits - (before?.submits ?? 0),
    pipelines: pipelines - (before?.pipelines ?? 0),
    reads: reads - (before?.reads ?? 0),
    readBytes: readBytes - (before?.readBytes ?? 0),
    arrived: arrived - (before?.arrived ?? 0),
  }
}
