/** The models server of the tests: ranges, counts and faults; and the real one beside it. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DIST } from '../app/serve/build.ts'
import { serve } from '../app/serve/serve.ts'
import { expect, test } from './fixtures/room.ts'
import { DEVICE_COOKIE } from './fixtures/models-server.ts'

const NAME = 'range-check'
const SIZE = 64 * 2 ** 20
const FILE = `${NAME}/shards/big.bin`
const folder = join(DIST, 'models', NAME)

test.beforeAll(async () => {
  await mkdir(join(folder, 'shards'), { recursive: true })
  const bytes = Buffer.alloc(SIZE)
  for (let i = 0; i < SIZE; i += 4096) bytes.writeUInt32LE(i, i)
  await writeFile(join(folder, 'shards', 'big.bin'), bytes)
})
test.afterAll(() => rm(folder, { recursive: true }))

test('shards of 64 MB are served whole and by ranges', async () => {
  const real = await serve({ reach: 'loopback', port: 0 })
  const url = `http://127.0.0.1:${real.port}/models/${FILE}`
  const whole = await fetch(url)
  expect(whole.headers.get('cache-control')).toContain('immutable')
  expect((await whole.arrayBuffer()).byteLength).toBe(SIZE)
  const rest = await fetch(url, { headers: { Range: `bytes=${SIZE - 8192}-` } })
  expect(rest.status).toBe(206)
  expect(rest.headers.get('content-range')).toBe(
    `bytes ${SIZE - 8192}-${SIZE - 1}/${SIZE}`,
  )
  const bytes = new DataView(await rest.arrayBuffer())
  expect(bytes.byteLength).toBe(8192)
  expect(bytes.getUint32(4096, true)).toBe(SIZE - 4096)
  const middle = await fetch(url, { headers: { Range: 'bytes=4096-8191' } })
  expect(new DataView(await middle.arrayBuffer()).getUint32(0, true)).toBe(4096)
  expect((await fetch(url, { headers: { Range: `bytes=${SIZE}-` } })).status).toBe(416)
  await real.close()
})

test('requests are counted for each device', async ({ server, devices }) => {
  const [one, two] = [await devices.add('one'), await devices.add('two')]
  await one.open()
  await two.open()
  const get = (from: number): Promise<number> =>
    one.page.evaluate(
      async ([file, start]) => {
        const response = await fetch(`/models/${file}`, {
          headers: { Range: `bytes=${start}-` },
        })
        return (await response.arrayBuffer()).byteLength
      },
      [FILE, from] as const,
    )
  expect(await get(SIZE - 100)).toBe(100)
  expect(server.models.bytes({ device: 'one' })).toBe(100)
  expect(server.models.bytes({ device: 'two', file: /big/ })).toBe(0)
  expect(server.models.requests.at(-1)).toEqual({
    device: 'one',
    file: FILE,
    from: SIZE - 100,
    status: 206,
    bytes: 100,
  })
})

test('faults are what they say, as often as they say', async ({ server }) => {
  const { models, origin } = server
  const url = `${origin}/models/${FILE}`
  const headers = { Range: `bytes=${SIZE - 4096}-`, Cookie: `${DEVICE_COOKIE}=one` }
  const tail = async (): Promise<Buffer> =>
    Buffer.from(await (await fetch(url, { headers })).arrayBuffer())
  const right = await tail()

  models.fail({ file: /big/, times: 1, fault: { kind: 'flip', at: SIZE - 10 } })
  const flipped = await tail()
  expect([...flipped].filter((byte, i) => byte !== right[i])).toHaveLength(1)
  expect((await tail()).equals(right)).toBe(true)

  models.fail({ file: /big/, times: 1, fault: { kind: 'cut', after: 1000 } })
  await expect(tail()).rejects.toThrow()
  expect(models.requests.at(-1)?.bytes).toBe(1000)

  const repair = models.fail({
    file: /big/,
    device: 'one',
    fault: { kind: 'status', status: 429, retryAfter: 2 },
  })
  const busy = await fetch(url, { headers })
  expect([busy.status, busy.headers.get('retry-after')]).toEqual([429, '2'])
  repair()

  models.fail({ file: /big/, times: 1, fault: { kind: 'no-range' } })
  const whole = await fetch(url, { headers })
  expect([whole.status, (await whole.arrayBuffer()).byteLength]).toEqual([200, SIZE])

  models.fail({ file: /big/, times: 1, fault: { kind: 'stall', after: 500 } })
  const stalled = await fetch(url, { headers })
  const reader = stalled.body?.getReader()
  let got = 0
  while (got < 500) got += (await reader?.read())?.value?.byteLength ?? 0
  expect(got).toBe(500)
  models.reset()
  await expect(reader?.read()).rejects.toThrow()
  expect((await fetch(`${origin}/models/none/manifest.json`)).status).toBe(404)
})
