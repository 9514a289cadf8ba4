import { beforeEach, describe, expect, test } from 'vitest'
import { Conversation } from './conversation.ts'
import { FakeStage, FakeText } from './testing/fake-workers.ts'
import { VirtualClock } from './testing/virtual-clock.ts'

let clock: VirtualClock
let stage: FakeStage
let text: FakeText
let chat: Conversation

beforeEach(() => {
  clock = new VirtualClock()
  stage = new FakeStage(clock)
  text = new FakeText()
  chat = new Conversation(
    { stage, text, clock, context: () => 1000, join: () => 1 },
    () => undefined,
  )
})

const texts = (): string[] => chat.thread.path.map((message) => message.text)
const last = () => chat.thread.path.at(-1)
const ended = (): Promise<void> =>
  clock.until('the answer ended', () => chat.running === 0 && last()?.state !== 'waiting')

describe('branches', () => {
  test('a changed question is asked without what followed the old one', async () => {
    for (const question of ['One', 'Two']) {
      chat.ask(question)
      await ended()
    }
    const question = chat.thread.path[2]
    chat.edit(question!.id, 'Deux')
    await ended()
    expect(texts()).toEqual(['One', 'w100 w101 w102 .', 'Deux', 'w100 w101 w102 .'])
    expect(text.encoded.at(-1)?.map(({ content }) => content)).toEqual([
      'One',
      'w100 w101 w102 .',
      'Deux',
    ])
    chat.choose(question!.id)
    expect(texts()[2]).toBe('Two')
  })

  test('an answer is given once more, and both stay', async () => {
    chat.ask('One')
    await ended()
    const first = last()
    chat.regenerate(first!.id)
    await ended()
    expect(last()?.versions).toEqual([first!.id, last()?.id])
    expect(text.encoded.at(-1)).toEqual(text.encoded[0])
  })

  test('nothing is changed while an answer is written', async () => {
    chat.ask('One')
    await clock.until('it streams', () => last()?.state === 'streaming')
    const { path } = chat.thread
    chat.edit(path[0]!.id, 'Two')
    chat.regenerate(path[1]!.id)
    chat.choose(path[0]!.id)
    expect(chat.thread.nodes.size).toBe(2)
    await ended()
  })
})

describe('continuing', () => {
  test('goes on behind the very tokens that were said', async () => {
    stage.reply = 50
    chat.ask('One')
    await clock.until('three tokens', () => (last()?.live?.tokens ?? 0) >= 3)
    chat.stop()
    await ended()
    expect(last()).toMatchObject({ state: 'stopped', continuable: true })
    const said = last()!.text.match(/w\d+/g)!
    stage.reply = 2
    // The fake's last turn of the stopped answer passes.
    await clock.advance(100)
    chat.continue(last()!.id)
    await ended()
    expect(stage.asks[1]?.ids).toEqual([
      ...stage.asks[0]!.ids,
      ...said.map((word) => Number(word.slice(1))),
    ])
    expect(last()?.text).toBe(`${said.join(' ')} w100 w101 .`)
    expect(last()).toMatchObject({ state: 'done', continuable: false })
    expect(chat.thread.path).toHaveLength(2)
  })

  test('an answer that ended by itself is not continued', async () => {
    chat.ask('One')
    await ended()
    chat.continue(last()!.id)
    expect([chat.running, stage.asks.length]).toEqual([0, 1])
  })
})

test('a kept chat is taken up with its branches under new ids', async () => {
  chat.ask('Gone')
  await ended()
  chat.resume({
    nodes: [
      { message: { id: 'm1', role: 'user', text: 'Q', state: 'done' }, parent: null },
      { message: { id: 'x', role: 'assistant', text: 'A', state: 'done' }, parent: 'm1' },
      { message: { id: 'y', role: 'assistant', text: 'B', state: 'done' }, parent: 'm1' },
    ],
    leaf: 'x',
  })
  expect(texts()).toEqual(['Q', 'A'])
  expect(last()?.versions).toHaveLength(2)
  chat.ask('More')
  await ended()
  expect(text.encoded.at(-1)?.map(({ content }) => content)).toEqual(['Q', 'A', 'More'])
})
