/**
 * `npm run demo -- [--tabs N] [--greedy] [--tokens N] [--json file] "question"`: a room of
 * headless browser tabs on this computer answers one question in the terminal.
 */
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { chromium, type Browser } from '@playwright/test'
import { ensureBuilt } from '../app/serve/build.ts'
import type { RoomView } from '../app/room/types.ts'
import { CHROMIUM_ARGS, ensureChromium } from './fixtures/chromium.ts'
import { DevicePage } from './fixtures/device-page.ts'
import { DEVICE_COOKIE } from './fixtures/models-server.ts'
import { startServer, type AppServer } from './fixtures/server.ts'

const USAGE =
  'Usage: npm run demo -- [--tabs 3] [--greedy] [--tokens 128] [--json file] "question"'
/** Loading a model of some hundred megabytes on a slow machine, ms. */
const READY_MS = 5 * 60_000
const ANSWER_MS = 10 * 60_000

interface DemoOptions {
  readonly tabs: number
  readonly greedy: boolean
  readonly tokens: number
  readonly json: string | null
  readonly question: string
}

interface DeviceReport {
  readonly name: string
  /** Layers `[from, to)`; equal where it runs none. */
  readonly from: number
  readonly to: number
  /** Content addresses of the weights that it got. */
  readonly shards: readonly string[]
  /** Bytes of weights that came over the network. */
  readonly bytes_fetched: number
  /** Bytes of graph, tokenizer and the like. */
  readonly other_bytes_fetched: number
  readonly ms_per_token: number | null
}

interface DemoReport {
  readonly prompt_ids: readonly number[]
  readonly token_ids: readonly number[]
  readonly text: string
  readonly devices: readonly DeviceReport[]
  readonly seconds: number
}

function demoOptions(args: readonly string[]): DemoOptions {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      tabs: { type: 'string', default: '3' },
      greedy: { type: 'boolean', default: false },
      tokens: { type: 'string', default: '128' },
      json: { type: 'string' },
    },
  })
  const question = positionals.join(' ').trim()
  if (!question) throw new Error(USAGE)
  return {
    tabs: whole('--tabs', values.tabs, 16),
    greedy: values.greedy,
    tokens: whole('--tokens', values.tokens, 4096),
    json: values.json ?? null,
    question,
  }
}

function whole(name: string, text: string, most: number): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= most) return value
  throw new Error(`${name} takes a number from 1 to ${most}, not "${text}".`)
}

async function demo(options: DemoOptions): Promise<DemoReport> {
  const executablePath = await ensureChromium()
  progress('Building and serving the app')
  await ensureBuilt()
  const server = await startServer()
  const browser = await chromium.launch({ executablePath, args: CHROMIUM_ARGS })
  try {
    const devices = await openRoom(browser, server, options)
    return await askRoom(devices, server, options)
  } finally {
    await browser.close()
    await server.close()
  }
}

async function openRoom(
  browser: Browser,
  server: AppServer,
  { tabs, greedy, tokens }: DemoOptions,
): Promise<[DevicePage, ...DevicePage[]]> {
  const first = await newDevice(browser, server, 0)
  // The room deals its layers once all tabs are there, so that none is fetched in vain.
  await first.startRoom(`/?phones=${tabs}`)
  await first.page.evaluate(
    ([isGreedy, maxTokens]) =>
      window.choir?.setSampling({
        maxTokens,
        ...(isGreedy && { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1 }),
      }),
    [greedy, tokens] as const,
  )
  const link = await first.link()
  const devices: [DevicePage, ...DevicePage[]] = [first]
  for (let index = 1; index < tabs; index++) {
    const device = await newDevice(browser, server, index)
    await device.join(link)
    devices.push(device)
  }
  progress(`${tabs} ${tabs === 1 ? 'tab is' : 'tabs are'} in the room`)
  await first.sees(tabs)
  await readyWithProgress(first, tabs)
  return devices
}

async function newDevice(
  browser: Browser,
  server: AppServer,
  index: number,
): Promise<DevicePage> {
  const name = `tab-${index + 1}`
  const context = await browser.newContext()
  // The TypeScript runner wraps named functions in this helper, also those sent to the page.
  await context.addInitScript('globalThis.__name = (value) => value')
  await context.addCookies([{ name: DEVICE_COOKIE, value: name, url: server.origin }])
  return new DevicePage(name, await context.newPage(), context, server.origin)
}

/** Ready once every tab is, so that the layers are really shared. */
async function readyWithProgress(first: DevicePage, tabs: number): Promise<void> {
  await first.page.exposeFunction('choirProgress', (line: string) => progress(line))
  await first.page.evaluate(() => {
    const tell = (window as unknown as { choirProgress: (line: string) => void })
      .choirProgress
    let told = ''
    const look = (): void => {
      const devices = window.choir?.view.devices ?? []
      const line = devices
        .map(({ name, state }) => {
          if (state.kind !== 'fetching' && state.kind !== 'loading')
            return `${name} ${state.kind}`
          const part = state.totalBytes > 0 ? state.doneBytes / state.totalBytes : 0
          return `${name} ${state.kind} ${Math.floor(part * 10) * 10} %`
        })
        .join(', ')
      if (line !== told) tell((told = line))
    }
    window.choir?.addEventListener('change', look)
    look()
  })
  await first.page.waitForFunction(
    (wanted) => {
      const view = window.choir?.view
      if (view?.status.kind !== 'ready' || view.devices.length !== wanted) return false
      return view.devices.every(
        ({ state }) => state.kind === 'ready' || state.kind === 'idle',
      )
    },
    tabs,
    { timeout: READY_MS },
  )
}

async function askRoom(
  devices: readonly [DevicePage, ...DevicePage[]],
  server: AppServer,
  { question }: DemoOptions,
): Promise<DemoReport> {
  const [first] = devices
  let shown = ''
  await first.page.exposeFunction('choirText', (text: string) => {
    if (!text.startsWith(shown)) process.stdout.write('\n')
    process.stdout.write(text.startsWith(shown) ? text.slice(shown.length) : text)
    shown = text
  })
  const began = performance.now()
  const end = first.page.evaluate(
    (text) =>
      new Promise<{ state: string; error: string; text: string }>((resolve) => {
        const room = window.choir
        if (!room) return
        const tell = (window as unknown as { choirText: (text: string) => Promise<void> })
          .choirText
        room.addEventListener('change', () => {
          const message = room.view.messages.at(-1)
          if (message?.role !== 'assistant') return
          const told = tell(message.text)
          const { state, error = '', text } = message
          if (state !== 'waiting' && state !== 'streaming')
            void told.then(() => resolve({ state, error, text }))
        })
        room.ask(text)
      }),
    question,
  )
  const { state, error, text } = await within(ANSWER_MS, end)
  process.stdout.write('\n')
  if (state !== 'done') throw new Error(error || `The answer ended as "${state}".`)
  const seconds = (performance.now() - began) / 1000
  const answer = await first.page.evaluate(() => window.choir?.lastAnswer ?? null)
  const reports = await Promise.all(devices.map((device) => deviceReport(device, server)))
  return {
    prompt_ids: answer?.promptIds ?? [],
    token_ids: answer?.tokenIds ?? [],
    text,
    devices: reports.sort((a, b) => a.from - b.from || a.to - b.to),
    seconds,
  }
}

async function deviceReport(
  device: DevicePage,
  server: AppServer,
): Promise<DeviceReport> {
  const view: RoomView | null = await device.page.evaluate(
    () => window.choir?.view ?? null,
  )
  const self = view?.devices.find((entry) => entry.self)
  const { from, to } = self?.span ?? { from: 0, to: 0 }
  const all = { device: device.name }
  const weights = { ...all, file: /\/shards\/[0-9a-f]{64}\.bin$/ }
  const shards = server.models.files(weights).map((file) => file.slice(-68, -4))
  const bytes = server.models.bytes(weights)
  return {
    name: self?.name ?? device.name,
    from,
    to,
    shards,
    bytes_fetched: bytes,
    other_bytes_fetched: server.models.bytes(all) - bytes,
    ms_per_token: self?.msPerLayer == null ? null : self.msPerLayer * (to - from),
  }
}

async function within<T>(limit: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('The answer took too long.')), limit)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

function table(devices: readonly DeviceReport[]): string {
  const rows = devices.map((device) => [
    device.name,
    device.from === device.to ? 'no layers' : `layers ${device.from}-${device.to - 1}`,
    `${device.shards.length} shards`,
    `${(device.bytes_fetched / 1e6).toFixed(1)} MB`,
    device.ms_per_token === null ? '' : `${device.ms_per_token.toFixed(1)} ms/token`,
  ])
  const widths = [0, 1, 2, 3].map((i) =>
    Math.max(...rows.map((row) => (row[i] ?? '').length)),
  )
  return rows
    .map(
      (row) =>
        '  ' +
        row
          .map((cell, i) => cell.padEnd(widths[i] ?? 0))
          .join('  ')
          .trimEnd(),
    )
    .join('\n')
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`)
}

try {
  const options = demoOptions(process.argv.slice(2))
  const report = await demo(options)
  const count = report.token_ids.length
  const rate = count > 0 ? `, ${(count / report.seconds).toFixed(1)} tokens a second` : ''
  process.stdout.write(`\n${table(report.devices)}\n`)
  process.stdout.write(`  ${count} tokens in ${report.seconds.toFixed(1)} s${rate}\n`)
  if (options.json !== null)
    await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`)
  process.exit(0)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
}
