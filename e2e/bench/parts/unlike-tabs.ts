/** Rooms of tabs of different speed, and what the planner's cost model says of their laps. */
import type { BrowserContext } from '@playwright/test'
import { ringOf } from '../../../app/devices/stages.ts'
import type { Bench } from '../bench.ts'
import { newContext } from '../engines.ts'
import { median, TRUSTED } from '../rows.ts'
import { openSlowable, type SlowableBrowser } from '../slowed.ts'
import { joinRoom, type RoomChoices, type RoomOfTabs } from './rooms.ts'

export const PROMPT = 'Write a long story about the sea and a ship.'
export const WARM_UP = 32

/** A browser and the storage of its tabs. */
export interface Tab {
  readonly browser: SlowableBrowser
  readonly context: BrowserContext
}

export async function openBrowsers(count: number): Promise<Tab[]> {
  const browsers: Tab[] = []
  for (let i = 0; i < count; i++) {
    const browser = await openSlowable()
    browsers.push({ browser, context: await newContext(browser.browser) })
  }
  return browsers
}

/** Opens a room of these browsers at full speed, and closes it afterwards. */
export async function inRoom(
  { app }: Bench,
  browsers: readonly Tab[],
  choices: RoomChoices,
  use: (room: RoomOfTabs) => Promise<void>,
): Promise<void> {
  const plain = browsers.map(({ browser }) => browser.browser)
  const contexts = browsers.map(({ context }) => context)
  const room = await joinRoom(plain, app.origin, { ...choices, contexts })
  try {
    await use(room)
  } finally {
    for (const { browser } of browsers) await browser.slow(1)
    await room.close()
  }
}

/** Who is measured first alternates. */
export function turn<T>(both: readonly T[], round: number): readonly T[] {
  return round % 2 === 0 ? both : both.toReversed()
}

export interface Lap {
  readonly lapMs: number
  readonly stages: readonly StageFigures[]
}

export interface StageFigures {
  readonly device: number
  readonly layers: number
  readonly msPerLayer: number
  /** Embedding and head, on the starter. */
  readonly msStarter: number
}

export async function stagesOf(room: RoomOfTabs): Promise<StageFigures[]> {
  const spans = await room.spans()
  return Promise.all(
    spans.map(async ({ device, from, to }) => {
      const found = await room.devices[device]?.page.evaluate(() => window.choir?.stats)
      return {
        device,
        layers: to - from,
        msPerLayer: found?.msPerLayer ?? NaN,
        msStarter: found?.msStarter ?? 0,
      }
    }),
  )
}

/**
 * The lap by the planner's cost model, from what the tabs tell of it while it runs: their stages,
 * and half of each link's round trip, ms. NaN before all are measured.
 */
export async function modelled(room: RoomOfTabs): Promise<number> {
  const devices = await room.devices[0]!.page.evaluate(
    () => window.choir?.view.devices ?? [],
  )
  return ringOf({ devices }).ring.reduce(
    (sum, { device, linkMs }) => sum + (device.stageMs ?? NaN) + (linkMs ?? NaN),
    0,
  )
}

/**
 * The lap of other stages by the planner's cost model, from what was measured before: each
 * device's time for a layer, and a hop. A new starter counts as it measured itself.
 */
export function predicted(known: Lap, stages: readonly StageFigures[]): number {
  const time = ({ layers, msPerLayer, msStarter }: StageFigures) =>
    layers * msPerLayer + msStarter
  const sum = (some: readonly number[]) => some.reduce((a, b) => a + b, 0)
  const hopMs = (known.lapMs - sum(known.stages.map(time))) / known.stages.length
  const then = stages.map((stage) => {
    const before = known.stages.find(({ device }) => device === stage.device)
    const msStarter = before?.msStarter ? before.msStarter : stage.msStarter
    return {
      ...stage,
      msPerLayer: before?.msPerLayer ?? stage.msPerLayer,
      msStarter: stage.msStarter > 0 ? msStarter : 0,
    }
  })
  return sum(then.map(time)) + hopMs * stages.length
}

/** @param what is predicted, and from what. */
export function tellError(
  log: Bench['log'],
  what: string,
  errors: readonly number[],
): void {
  const error = median(errors)
  const each = errors.map((one) => (100 * one).toFixed(1)).join(', ')
  log(
    `  ${what}: ${(100 * error).toFixed(1)} % off (${each})` +
      (Math.abs(error) > TRUSTED
        ? '; more than 10 %: the simulation does not count'
        : ''),
  )
}
