import { expect, it } from 'vitest'
import { roomView } from '../room/testing/views.ts'
import type { Message, RoomView } from '../room/types.ts'
import type { Conversation, ConversationStore } from './conversations.ts'
import { ChatKeeper } from './keeper.ts'

function view(...answers: Message['state'][]): RoomView {
  const messages = answers.flatMap((state, i): Message[] => [
    { id: `q${i}`, role: 'user', text: 'Why?', state: 'done' },
    { id: `a${i}`, role: 'assistant', text: 'So.', state },
  ])
  const nodes = messages.map((message, i) => ({
    message,
    parent: messages[i - 1]?.id ?? null,
  }))
  return roomView({ messages, chat: { nodes, leaf: messages.at(-1)?.id ?? null } })
}

function keeper(save: (chat: Conversation) => Promise<void>): ChatKeeper {
  let id = 0
  return new ChatKeeper(
    () => Promise.resolve({ save } as unknown as ConversationStore),
    () => `chat-${(id += 1)}`,
    () => 5,
  )
}

it('saves once per ended answer, under one name until the next chat', async () => {
  const saved: [string, number][] = []
  const chats = keeper(({ id, messages }) => {
    saved.push([id, messages.length])
    return Promise.resolve()
  })
  await chats.keep(view('streaming'))
  await chats.keep(view('done'))
  await chats.keep(view('done'))
  await chats.keep(view('done', 'waiting'))
  await chats.keep(view('done', 'stopped'))
  chats.next()
  await chats.keep(view('failed'))
  expect(saved).toEqual([
    ['chat-1', 2],
    ['chat-1', 4],
    ['chat-2', 2],
  ])
})

it('a chat that is taken up is saved again only when it goes on', async () => {
  const saved: string[] = []
  const chats = keeper(({ id }) => {
    saved.push(id)
    return Promise.resolve()
  })
  chats.next('old')
  await chats.keep(view('done'))
  expect(saved).toEqual([])
  await chats.keep(view('done', 'done'))
  expect(saved).toEqual(['old'])
})

it('goes on when nothing can be kept', async () => {
  const chats = keeper(() =>
    Promise.reject(new DOMException('full', 'QuotaExceededError')),
  )
  await expect(chats.keep(view('done'))).resolves.toBeUndefined()
})
