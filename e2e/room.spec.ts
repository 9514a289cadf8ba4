/** A room of several devices on a tiny model, as people use it. */
import { chromium } from '@playwright/test'
import { shardsOf } from '../model-split/span.ts'
import { openCutFolder } from '../model-split/run/folder.ts'
import { spansOf } from '../workers/ring/types.ts'
import { join } from 'node:path'
import { cameraArgs, filmOf } from './fixtures/camera.ts'
import { CHROMIUM_ARGS, ensureChromium } from './fixtures/chromium.ts'
import { DevicePage } from './fixtures/device-page.ts'
import { Reference } from './fixtures/reference.ts'
import { chooseGreedy, expect, test } from './fixtures/room.ts'
import { TEST_MODELS } from './fixtures/test-models.ts'

const MODEL = 'genai-llama-int4-cpu'
const TOKENS = 16
const room = (phones: number, more = ''): string =>
  `/?model=/models/${MODEL}/&engine=wasm&threads=1&phones=${phones}${more}`

let reference: Reference
test.beforeAll(async () => {
  reference = await Reference.open(MODEL)
})
test.afterAll(() => reference.release())

test('three phones by link: each fetches only its layers, and each may ask', async ({
  devices,
  server,
}) => {
  const members = await devices.room(['anna', 'ben', 'cleo'], room(3, '&deal=still'))
  for (const device of members) {
    await device.sees(3)
    await device.ready()
  }
  const { manifest } = await openCutFolder(join(TEST_MODELS, MODEL))
  const views = await Promise.all(
    members.map((device) => device.page.evaluate(() => window.choir?.view ?? null)),
  )
  const stages = (views[0]?.devices ?? [])
    .flatMap(({ id, span, starter }) => (span ? [{ device: id, starter, ...span }] : []))
    .sort((a, b) => Number(b.starter) - Number(a.starter) || a.from - b.from)
  expect(stages).toHaveLength(3)
  expect(stages[0]?.from).toBe(0)
  for (const [i, device] of members.entries()) {
    const self = views[i]?.devices.find((entry) => entry.self)
    const index = stages.findIndex((stage) => stage.device === self?.id)
    const plan = { epoch: { term: 0, number: 0 }, stages }
    const shards = shardsOf(manifest, spansOf(plan, index, manifest.layers))
    const files = server.models.files({ device: device.name, file: /\/shards\// })
    expect(files.map((file) => file.slice(-68, -4)).sort()).toEqual([...shards].sort())
    const bytes = shards.reduce(
      (sum, shard) => sum + (manifest.shards[shard]?.bytes ?? 0),
      0,
    )
    expect(server.models.bytes({ device: device.name, file: /\/shards\// })).toBe(bytes)
  }
  for (const [i, device] of members.entries()) {
    await device.askAndRead(`Question ${i}: why?`)
    await reference.check(device, TOKENS)
  }
  for (const device of members) expect(device.errors).toEqual([])
})

test('two phones ask at the same time and both get right answers', async ({
  devices,
}) => {
  const members = await devices.room(['anna', 'ben'], room(2))
  for (const device of members) {
    await device.sees(2)
    await device.ready()
  }
  await Promise.all(members.map((device, i) => device.askFor(40, `From phone ${i}.`)))
  for (const device of members) {
    await device.answerIs('done')
    await reference.check(device, 40)
  }
})

test('a second turn uses what the first one left in the caches', async ({ devices }) => {
  // One phone: its plan cannot change between the two turns.
  const [anna] = await devices.room(['anna'], room(1))
  await anna!.ready()
  await anna!.askAndRead('One.')
  await anna!.askAndRead('Two.')
  await reference.check(anna!, TOKENS)
  const stats = await anna!.page.evaluate(() => window.choir?.view.messages.at(-1)?.stats)
  expect(stats?.reusedTokens).toBeGreaterThan(0)
})

test('one leaves between answers, and the next answer is right', async ({ devices }) => {
  const [anna, ben, cleo] = await devices.room(['anna', 'ben', 'cleo'], room(3))
  for (const device of [anna!, ben!, cleo!]) await device.sees(3)
  await anna!.ready()
  await anna!.askAndRead('First.')
  await ben!.close()
  await anna!.sees(2)
  await anna!.askAndRead('Second, without Ben.')
  await reference.check(anna!, TOKENS)
})

test('the one who opened the room leaves; others still join and ask', async ({
  devices,
}) => {
  const [anna, ben] = await devices.room(['anna', 'ben'], room(2))
  await ben!.sees(2)
  const link = await ben!.link()
  await anna!.close()
  await ben!.sees(1)
  const cleo = await devices.add('cleo')
  await cleo.join(link)
  await cleo.sees(2)
  await cleo.ready()
  await cleo.askAndRead('Hello?')
  await reference.check(cleo, TOKENS)
})

test('a flipped byte in a shard is refused, fetched again and never run', async ({
  devices,
  server,
}) => {
  server.models.fail({ file: /\/shards\//, times: 1, fault: { kind: 'flip', at: 1000 } })
  const [anna] = await devices.room(['anna'], room(1))
  await anna!.ready()
  await anna!.askAndRead('Is it right?')
  await reference.check(anna!, TOKENS)
  const requests = server.models.requests.filter(({ file }) => /\/shards\//.test(file))
  const twice = requests.filter(
    ({ file }, i) => requests.findIndex((r) => r.file === file) !== i,
  )
  expect(twice).toHaveLength(1)
})

test('a newcomer gets its layers from the phone that runs them', async ({
  devices,
  server,
}) => {
  const [anna] = await devices.room(['anna'], room(1))
  await anna!.ready()
  const ben = await devices.add('ben')
  await ben.join(await anna!.link())
  const runs = (): Promise<boolean> =>
    ben.page.evaluate(
      () =>
        window.choir?.view.devices.some(
          ({ self, span, state }) => self && span !== null && state.kind === 'ready',
        ) ?? false,
    )
  await expect.poll(runs, { timeout: 60_000 }).toBe(true)
  const fetched = await ben.page.evaluate(() => window.choir?.fetched.bytes ?? 0)
  expect(fetched).toBeGreaterThan(0)
  expect(server.models.bytes({ device: 'ben', file: /\/shards\// })).toBe(0)
  await ben.askAndRead('Whose layers are these?')
  await reference.check(ben, TOKENS)
})

test('a reload keeps the room and fetches nothing again', async ({ devices, server }) => {
  const [anna, ben] = await devices.room(['anna', 'ben'], room(2))
  await anna!.sees(2)
  await anna!.ready()
  const before = server.models.bytes({ device: 'ben', file: /\/shards\// })
  await ben!.page.reload()
  await ben!.sees(2)
  await ben!.ready()
  await anna!.sees(2)
  await anna!.ready()
  expect(server.models.bytes({ device: 'ben', file: /\/shards\// })).toBe(before)
  await ben!.askAndRead('Still here?')
  await reference.check(ben!, TOKENS)
})

test('six letters only knock; someone inside presses Allow', async ({ devices }) => {
  const [anna] = await devices.room(['anna'], room(1))
  await anna!.ready()
  const code = await anna!.page.evaluate(() => window.choir?.view.code ?? '')
  const ben = await devices.add('ben')
  await ben.open('/?engine=wasm&threads=1')
  await ben.mark('joinRoom').click()
  await ben.mark('codeInput').fill(code)
  await ben.mark('codeGo').click()
  await expect(anna!.mark('knockDigits')).toBeVisible({ timeout: 30_000 })
  await anna!.mark('knockAllow').click()
  await ben.inRoom()
  await ben.sees(2)
})

test('a phone joins by scanning the QR code inside the app', async ({
  devices,
  server,
}) => {
  const [anna] = await devices.room(['anna'], room(1))
  await anna!.ready()
  const film = await filmOf(await anna!.link())
  const browser = await chromium.launch({
    executablePath: await ensureChromium(),
    args: [...CHROMIUM_ARGS, ...cameraArgs(film)],
  })
  try {
    const context = await browser.newContext({ permissions: ['camera'] })
    await context.addInitScript(chooseGreedy)
    const ben = new DevicePage('ben', await context.newPage(), context, server.origin)
    await ben.open('/?engine=wasm&threads=1')
    await ben.mark('joinRoom').click()
    await ben.mark('scanButton').click()
    await ben.inRoom()
    await ben.sees(2)
    await anna!.sees(2)
    await ben.ready()
    await ben.askAndRead('I came by camera.')
    await reference.check(ben, TOKENS)
  } finally {
    await browser.close()
  }
})

test('alone and offline after one visit: the app opens and answers', async ({
  devices,
}) => {
  const [anna] = await devices.room(['anna'], room(1))
  await anna!.ready()
  await anna!.askAndRead('Online.')
  // The service worker keeps the runtime in the background.
  const kept = (): Promise<number> =>
    anna!.page.evaluate(async () => {
      const files = await (await caches.open('choir-runtime')).keys()
      return files.filter(({ url }) => /\.(wasm|mjs)$/.test(url)).length
    })
  await expect.poll(kept, { timeout: 60_000 }).toBe(2)
  await anna!.context.setOffline(true)
  await anna!.page.reload()
  await anna!.inRoom()
  await anna!.ready()
  await anna!.askAndRead('Offline.')
  await reference.check(anna!, TOKENS)
})
