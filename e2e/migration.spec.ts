/** Layers that move between phones while an answer is being generated. */
import type { DevicePage } from './fixtures/device-page.ts'
import { expect, test } from './fixtures/room.ts'

const LOADING_MS = 120_000
const TOKENS = 120
const QUESTION = 'Tell me a long story about a lighthouse.'

test('layers go forth and back during an answer, which stays the same', async ({
  devices,
}) => {
  test.setTimeout(300_000)
  const names = ['anna', 'ben', 'cleo']
  const path = '/?engine=wasm&threads=1&phones=3&deal=hand'
  const members = await devices.room(names, path)
  for (const device of members) {
    await device.sees(3)
    await device.ready(LOADING_MS)
  }
  const [anna, ben] = members
  await ben!.askFor(TOKENS, QUESTION)
  await ben!.answerIs('done')
  const still = await ben!.tokenIds()
  expect(still.length).toBeGreaterThan(64)
  await ben!.page.evaluate(() => window.choir?.clear())

  // Nobody asks: each phone gets the layers beyond its borders.
  await holds(anna!, 0, [10, 11, 12, 13])
  await holds(anna!, 1, [6, 7, 8, 9, 20, 21, 22, 23])
  await holds(anna!, 2, [16, 17, 18, 19])
  const fetched = await Promise.all(members.map(fetchedBytes))
  await ben!.askFor(TOKENS, QUESTION)
  await hasTokens(ben!, 2)
  await deal(anna!, [10, 7, 13])
  await deal(anna!, [10, 10, 10])
  expect(await ben!.answer().getAttribute('data-state')).toBe('streaming')
  await ben!.answerIs('done')
  expect(await ben!.tokenIds()).toEqual(still)
  const stats = await ben!.page.evaluate(() => window.choir?.view.messages.at(-1)?.stats)
  // Its tokens came under more than one plan.
  expect(stats?.pauseMs).toBeGreaterThan(0)
  // Held layers moved there, and back to a store that has them: no weights travelled.
  expect(await Promise.all(members.map(fetchedBytes))).toEqual(fetched)

  await ben!.mark('devicesOpen').click()
  const moves = ben!.page.getByTestId('moves').getByRole('listitem')
  const called = await ben!.page.evaluate(
    () => window.choir?.view.devices.map(({ name }) => name) ?? [],
  )
  const moved = (from: number, to: number) =>
    `Moved layers 18–20 from ${called[from]} to ${called[to]}: they were dealt by hand.`
  await expect(moves.nth(0)).toContainText(moved(2, 1))
  await expect(moves.nth(1)).toContainText(moved(1, 2))
  for (const device of members) expect(device.errors).toEqual([])
})

async function hasTokens(device: DevicePage, count: number): Promise<void> {
  await device.page.waitForFunction(
    (least) => (window.choir?.lastAnswer?.tokenIds.length ?? 0) >= least,
    count,
    { timeout: 60_000 },
  )
}

function fetchedBytes({ page }: DevicePage): Promise<number> {
  return page.evaluate(() => window.choir?.fetched.bytes ?? NaN)
}

/** Resolves once a device of the room holds these layers beside its own. */
async function holds(
  { page }: DevicePage,
  index: number,
  layers: readonly number[],
): Promise<void> {
  await page.waitForFunction(
    ([at, wanted]) => {
      const held = window.choir?.view.devices[at]?.holds ?? []
      return wanted.every((layer) => held.includes(layer))
    },
    [index, layers] as const,
    { timeout: LOADING_MS },
  )
}

/** Resolves once the plan that gives each device so many layers serves. */
async function deal({ page }: DevicePage, layers: readonly number[]): Promise<void> {
  const before = await page.evaluate((counts) => {
    window.choir?.dealLayers(counts)
    return window.choir?.view.epoch ?? null
  }, layers)
  await page.waitForFunction(
    (old) => {
      const epoch = window.choir?.view.epoch
      return epoch && (epoch.term !== old?.term || epoch.number !== old.number)
    },
    before,
    { timeout: 60_000 },
  )
}
