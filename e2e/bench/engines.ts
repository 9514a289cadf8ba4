/** One browser tab that answers, whoever computes: the app itself or a peer. */
import type { Browser, BrowserContext, Page } from '@playwright/test'
import { DevicePage } from '../fixtures/device-page.ts'
import '../fixtures/hook.ts'
import type { AnswerStats } from '../../workers/ring/types.ts'
import type { PeerServer } from './peer-server.ts'

/** Of one answer, by the engine's own clock. */
export interface Timing {
  readonly promptTokens: number
  readonly prefillMs: number
  /** Tokens after the first one. */
  readonly decoded: number
  readonly decodeMs: number
}

export interface Contender {
  readonly name: string
  answer(prompt: string, tokens: number): Promise<Timing>
  close(): Promise<void>
}

export const decodeRate = ({ decoded, decodeMs }: Timing): number =>
  (decoded / decodeMs) * 1000
export const prefillRate = ({ promptTokens, prefillMs }: Timing): number =>
  (promptTokens / prefillMs) * 1000

/** A worse network than this computer's loopback. */
export interface Network {
  readonly rttMs: number
  /** Packets lost, per cent. */
  readonly loss: number
}

/** Storage of one device. */
export async function newContext(browser: Browser): Promise<BrowserContext> {
  const context = await browser.newContext()
  // The TypeScript runner wraps named functions in this helper, also those sent to the page.
  await context.addInitScript('globalThis.__name = (value) => value')
  return context
}

/** Each tab has its own storage, as each device has. */
export async function newPage(browser: Browser, network?: Network): Promise<Page> {
  const page = await (await newContext(browser)).newPage()
  if (network) await shape(page, network)
  return page
}

/** Connections that the page makes from now on; both ends delay both directions. */
async function shape(page: Page, { rttMs, loss }: Network): Promise<void> {
  const session = await page.context().newCDPSession(page)
  await session.send('Network.enable')
  await session.send('Network.emulateNetworkConditions', {
    offline: false,
    latency: rttMs / 4,
    downloadThroughput: -1,
    uploadThroughput: -1,
    packetLoss: loss,
  })
}

export interface OursOptions {
  readonly origin: string
  readonly threads: number
  readonly memory: number
}

const READY_MS = 180_000

/** The app, a room of its own, alone in it. */
export async function ours(
  browser: Browser,
  name: string,
  { origin, threads, memory }: OursOptions,
): Promise<Contender & { readonly device: DevicePage }> {
  const page = await newPage(browser)
  const device = new DevicePage(name, page, page.context(), origin)
  await device.startRoom(`/?engine=wasm&threads=${threads}&memory=${memory}`)
  await device.ready(READY_MS)
  return {
    name,
    device,
    answer: async (prompt, tokens) => timingOf(await askRoom(page, prompt, tokens)),
    close: () => page.context().close(),
  }
}

export interface AskOptions {
  /** Drafts; off, so that a token is a lap, unless they are what is measured. */
  readonly speculate?: boolean
  /** The next turn of the chat that is open. */
  readonly goOn?: boolean
}

/** A new chat; greedy. @throws Error with the room's sentence where it fails. */
export async function askRoom(
  page: Page,
  prompt: string,
  maxTokens: number,
  { speculate = false, goOn = false }: AskOptions = {},
): Promise<AnswerStats> {
  const end = await page.evaluate(
    ([prompt, maxTokens, speculate, goOn]) =>
      new Promise<{ stats: AnswerStats | undefined; error: string }>((resolve) => {
        const room = window.choir
        if (!room) return
        if (!goOn) room.clear()
        const greedy = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1 }
        room.setSampling({ ...greedy, maxTokens, speculate })
        const look = (): void => {
          const last = room.view.messages.at(-1)
          if (last?.role !== 'assistant') return
          if (last.state === 'waiting' || last.state === 'streaming') return
          room.removeEventListener('change', look)
          resolve({ stats: last.stats, error: last.error ?? last.state })
        }
        setTimeout(() => {
          room.addEventListener('change', look)
          room.ask(prompt)
        })
      }),
    [prompt, maxTokens, speculate, goOn] as const,
  )
  if (!end.stats) throw new Error(`The answer failed: ${end.error}`)
  return end.stats
}

export function timingOf(stats: AnswerStats): Timing & { readonly laps: number } {
  const { promptTokens, prefillMs, newTokens, laps, decodeMs } = stats
  return { promptTokens, prefillMs, decoded: newTokens - 1, laps, decodeMs }
}

interface TransformersPage {
  answer(prompt: string, tokens: number): Promise<Timing>
}

/** transformers.js on its WASM backend: one tab, text generation with its KV cache. */
export async function transformersJs(
  browser: Browser,
  server: PeerServer,
  options: { name: string; model: string; dtype: 'q4' | 'fp32'; threads: number },
): Promise<Contender> {
  const page = await newPage(browser)
  await page.goto(server.origin)
  await page.evaluate(async ({ model, dtype, threads }) => {
    const package_ = '/packages/@huggingface/transformers/dist/transformers.web.js'
    /* eslint-disable @typescript-eslint/no-explicit-any,
       @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-member-access,
       @typescript-eslint/no-unsafe-call -- another project's page */
    const hub: any = await import(package_)
    hub.env.allowLocalModels = true
    hub.env.allowRemoteModels = false
    hub.env.localModelPath = '/models/'
    hub.env.useBrowserCache = false
    hub.env.useWasmCache = false
    const wasm = hub.env.backends.onnx.wasm
    wasm.numThreads = threads
    wasm.wasmPaths = '/packages/onnxruntime-web/dist/'
    const tokenizer = await hub.AutoTokenizer.from_pretrained(model)
    const options = { dtype, device: 'wasm', use_external_data_format: dtype === 'fp32' }
    const network = await hub.AutoModelForCausalLM.from_pretrained(model, options)
    const peer = {
      async answer(prompt: string, tokens: number) {
        const inputs = tokenizer.apply_chat_template(
          [{ role: 'user', content: prompt }],
          {
            add_generation_prompt: true,
            return_dict: true,
          },
        )
        const times: number[] = []
        const streamer = {
          put: () => times.push(performance.now()),
          end: () => undefined,
        }
        const began = performance.now()
        const length = { max_new_tokens: tokens, min_new_tokens: tokens }
        await network.generate({ ...inputs, ...length, do_sample: false, streamer })
        // The first call brings the prompt back.
        const [first = NaN, ...later] = times.slice(1)
        return {
          promptTokens: inputs.input_ids.dims[1],
          prefillMs: first - began,
          decoded: later.length,
          decodeMs: (later.at(-1) ?? NaN) - first,
        }
      },
    }
    Object.assign(window, { peer })
    /* eslint-enable */
  }, options)
  return peerOf(options.name, page)
}

/** wllama with the thread count asked for, else as its README loads and asks. */
export async function wllama(
  browser: Browser,
  server: PeerServer,
  options: { name: string; model: string; threads: number },
): Promise<Contender> {
  const page = await newPage(browser)
  await page.goto(server.origin)
  await page.evaluate(async ({ model, threads }) => {
    const root = '/packages/@wllama/wllama/esm'
    /* eslint-disable @typescript-eslint/no-explicit-any,
       @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-member-access,
       @typescript-eslint/no-unsafe-call -- another project's page */
    const { Wllama, LoggerWithoutDebug }: any = await import(`${root}/index.js`)
    const engine = new Wllama(
      { default: `${root}/wasm/wllama.wasm` },
      { logger: LoggerWithoutDebug, suppressNativeLog: true },
    )
    const blob = await (await fetch(model)).blob()
    await engine.loadModel([blob], { n_ctx: 2048, n_threads: threads, n_gpu_layers: 0 })
    const peer = {
      async answer(prompt: string, tokens: number) {
        const { timings } = await engine.createChatCompletion({
          messages: [{ role: 'user', content: prompt }],
          max_tokens: tokens,
          temperature: 0,
          cache_prompt: false,
        })
        return {
          promptTokens: timings.prompt_n,
          prefillMs: timings.prompt_ms,
          decoded: timings.predicted_n - 1,
          decodeMs: timings.predicted_ms,
        }
      },
    }
    Object.assign(window, { peer })
    /* eslint-enable */
  }, options)
  return peerOf(options.name, page)
}

function peerOf(name: string, page: Page): Contender {
  return {
    name,
    answer: (prompt, tokens) =>
      page.evaluate(
        ([prompt, tokens]) =>
          (window as unknown as { peer: TransformersPage }).peer.answer(prompt, tokens),
        [prompt, tokens] as const,
      ),
    close: () => page.context().close(),
  }
}
