/** The model that comes with the app: greedy answers are the expected ones, however cut. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DevicePage } from './fixtures/device-page.ts'
import { expect, test } from './fixtures/room.ts'

interface Expected {
  readonly prompts: readonly {
    readonly messages: readonly { readonly role: string; readonly content: string }[]
    readonly prompt_ids: readonly number[]
    readonly token_ids: readonly number[]
  }[]
}
const { prompts } = JSON.parse(
  readFileSync(join(import.meta.dirname, 'fixtures/smollm2-expected.json'), 'utf8'),
) as Expected
/** Those that are one question. */
const questions = prompts.filter(({ messages }) => messages.length === 1)
const LOADING_MS = 120_000

async function answers(
  device: DevicePage,
  question: (typeof prompts)[number],
): Promise<void> {
  await device.page.evaluate(() => window.choir?.clear())
  await device.askFor(64, question.messages[0]?.content ?? '')
  await device.answerIs('done')
  const answer = await device.page.evaluate(() => window.choir?.lastAnswer ?? null)
  expect(answer?.promptIds).toEqual(question.prompt_ids)
  expect(answer?.tokenIds).toEqual(question.token_ids)
}

async function stops(device: DevicePage): Promise<void> {
  await device.askFor(2000, 'Write a long story about a brave fox.')
  await device.answerIs('streaming')
  await device.stop()
  await device.answerIs('stopped')
}

test.describe.configure({ timeout: 300_000 })

for (const tabs of [1, 2, 3])
  test(`${tabs} tabs give the expected tokens, whoever asks, also after a stop`, async ({
    devices,
  }) => {
    const names = ['anna', 'ben', 'cleo'].slice(0, tabs)
    const members = await devices.room(names, `/?engine=wasm&threads=1&phones=${tabs}`)
    for (const device of members) {
      await device.sees(tabs)
      await device.ready(LOADING_MS)
    }
    await stops(members[0]!)
    for (const [i, device] of members.entries())
      await answers(device, questions[(tabs + i) % questions.length]!)
  })

test('three phones with 40 % of the model each hold it together; one alone says what is missing', async ({
  devices,
}) => {
  const bytes = 110_137_472
  const budget = Math.floor(0.4 * bytes)
  const path = `/?engine=wasm&threads=1&memory=${budget}`
  const [anna] = await devices.room(['anna'], `${path}&phones=3`)
  const { hash } = new URL(await anna!.link())
  const members = [anna!, await devices.add('ben'), await devices.add('cleo')]
  for (const device of members.slice(1))
    await device.join(`${device.origin}${path}${hash}`)
  for (const device of members) {
    await device.sees(3)
    await device.ready(LOADING_MS)
  }
  await answers(members[1]!, questions[1]!)
  for (const device of members) {
    const self = await device.page.evaluate(() =>
      window.choir?.view.devices.find((entry) => entry.self),
    )
    expect(self?.memoryUsed).toBeGreaterThan(0)
    expect(self?.memoryUsed).toBeLessThanOrEqual(budget)
  }
  const [alone] = await devices.room(['dora'], path)
  await expect(alone!.mark('roomStatus')).toHaveAttribute('data-status', 'short')
  await expect(alone!.mark('roomStatus')).toContainText(/\d/)
})
