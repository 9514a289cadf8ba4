/** Rooms of 1 to 4 tabs on this computer, and what is read off them. */
import type { Browser, BrowserContext } from '@playwright/test'
import { DevicePage } from '../../fixtures/device-page.ts'
import type { AnswerStats } from '../../../workers/ring/types.ts'
import type { StepSums } from '../../../workers/stage/speed.ts'
import { askRoom, newPage, type AskOptions, type Network } from '../engines.ts'

/** Each stage has one thread. */
const SEARCH = 'engine=wasm&threads=1'
/** Enough for the fast mode of the whole model. */
const MEMORY = 1_500_000_000
const READY_MS = 180_000
/** Figures of a stage come once a second while it works, and once more after that. */
const STATS_MS = 1300

export interface RoomSpan {
  /** Index in `devices`. */
  readonly device: number
  readonly from: number
  readonly to: number
  readonly starter: boolean
  readonly bytes: number
}

/** NaN where layers moved in between. */
export interface StepTimes {
  /** Of all steps together, ms. */
  readonly sumMs: number
  readonly meanMs: number
  /** Standard deviation. */
  readonly spreadMs: number
}

export interface RoomOfTabs {
  readonly devices: readonly DevicePage[]
  /** Layers `[from, to)` by device, in ring order; the starter first. */
  spans(): Promise<readonly RoomSpan[]>
  ask(
    device: number,
    prompt: string,
    tokens: number,
    options?: AskOptions,
  ): Promise<AnswerStats>
  /** What each device computed for laps meanwhile, by span. */
  stepsOf<T>(
    work: () => Promise<T>,
  ): Promise<{ result: T; steps: readonly (readonly StepTimes[])[] }>
  /** An answer, and what all stages computed for its laps, ms. */
  lapsOf(prompt: string, tokens: number): Promise<{ stats: AnswerStats; stepsMs: number }>
  /** By device: time of one row of a prompt in one layer, in its newest chunks, ms. */
  prefillMs(): Promise<readonly number[]>
  /** In a room that is dealt by hand: layers by device, in the order of joining, are wanted. */
  tell(layers: readonly number[]): Promise<void>
  /** As `tell`, and waits until they have moved. */
  deal(layers: readonly number[]): Promise<void>
  close(): Promise<void>
}

export interface RoomChoices {
  /** Bytes that each tab lends. */
  readonly memory?: number
  /** How layers are dealt: app/room/other-deals.ts. */
  readonly deal?: string
  readonly network?: Network
  /** Storage of an earlier room's tabs: what they fetched is there. It stays open. */
  readonly contexts?: readonly BrowserContext[]
}

/** A room of so many tabs of one browser; layers stay where they were dealt first. */
export function openRoom(
  browser: Browser,
  origin: string,
  tabs: number,
  network?: Network,
): Promise<RoomOfTabs> {
  const browsers = new Array<Browser>(tabs).fill(browser)
  return joinRoom(browsers, origin, { deal: 'still', ...(network && { network }) })
}

/** A room with a tab in each of the browsers, in that order. */
export async function joinRoom(
  browsers: readonly Browser[],
  origin: string,
  { memory = MEMORY, deal = 'planned', network, contexts }: RoomChoices = {},
): Promise<RoomOfTabs> {
  const devices: DevicePage[] = []
  const ids: string[] = []
  const tabs = browsers.length
  const search = `${SEARCH}&memory=${memory}&deal=${deal}`
  let link = ''
  for (const [index, browser] of browsers.entries()) {
    const known = contexts?.[index]
    const page = await (known?.newPage() ?? newPage(browser, network))
    const device = new DevicePage(`tab-${index + 1}`, page, page.context(), origin)
    devices.push(device)
    if (index === 0) {
      await device.startRoom(`/?${search}&phones=${tabs}`)
      link = await device.link()
    } else {
      const joining = new URL(link)
      joining.search = search
      await device.join(joining.href)
    }
    ids.push(
      await page.evaluate(
        () => window.choir?.view.devices.find(({ self }) => self)?.id ?? '',
      ),
    )
  }
  for (const { page } of devices)
    await page.waitForFunction(
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
  const told = () => new Promise((resolve) => setTimeout(resolve, STATS_MS))
  const sums = async (): Promise<(readonly StepSums[])[]> => {
    await told()
    return Promise.all(
      devices.map(({ page }) => page.evaluate(() => window.choir?.stats?.steps ?? [])),
    )
  }
  const ask: RoomOfTabs['ask'] = (device, prompt, tokens, options) => {
    const page = devices[device]?.page
    if (!page) throw new Error(`The room has no tab ${device}.`)
    return askRoom(page, prompt, tokens, options)
  }
  const stepsOf: RoomOfTabs['stepsOf'] = async (work) => {
    const before = await sums()
    const result = await work()
    const after = await sums()
    const steps = after.map((spans, i) =>
      spans.map((own, span) => timesBetween(before[i]?.[span] ?? NO_STEPS, own)),
    )
    return { result, steps }
  }
  const tell: RoomOfTabs['tell'] = async (layers) => {
    await devices[0]!.page.evaluate((counts) => window.choir?.dealLayers(counts), layers)
  }
  return {
    devices,
    ask,
    stepsOf,
    tell,
    async spans() {
      const view = await devices[0]!.page.evaluate(() => window.choir?.view.devices ?? [])
      const rows = view.flatMap(({ id, span, starter, memoryUsed: bytes }) =>
        span || starter
          ? [{ device: ids.indexOf(id), from: 0, to: 0, ...span, starter, bytes }]
          : [],
      )
      return rows.sort((a, b) => Number(b.starter) - Number(a.starter) || a.from - b.from)
    },
    async lapsOf(prompt, tokens) {
      const { result: stats, steps } = await stepsOf(() => ask(0, prompt, tokens))
      return { stats, stepsMs: steps.flat().reduce((sum, { sumMs }) => sum + sumMs, 0) }
    },
    async prefillMs() {
      await told()
      const own = () => window.choir?.stats?.msPerLayerPrefill ?? NaN
      return Promise.all(devices.map(({ page }) => page.evaluate(own)))
    },
    async deal(layers) {
      await tell(layers)
      await devices[0]!.page.waitForFunction((counts) => {
        const spans = window.choir?.view.devices.flatMap(({ span }) =>
          span ? [span.to - span.from] : [],
        )
        return spans?.join() === counts.join()
      }, layers)
    },
    async close() {
      for (const { page, context } of devices) await (contexts ? page : context).close()
    },
  }
}

const NO_STEPS: StepSums = { count: 0, ms: 0, squareMs: 0 }

function timesBetween(before: StepSums, after: StepSums): StepTimes {
  const count = after.count - before.count
  // A tab that counts from the start again was dealt other layers in between.
  if (count < 0) return { sumMs: NaN, meanMs: NaN, spreadMs: NaN }
  const sumMs = after.ms - before.ms
  const meanMs = sumMs / count
  const variance = (after.squareMs - before.squareMs) / count - meanMs ** 2
  return { sumMs, meanMs, spreadMs: Math.sqrt(Math.max(0, variance)) }
}
