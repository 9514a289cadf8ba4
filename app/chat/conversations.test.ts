import 'fake-indexeddb/auto'
import { openDB } from 'idb'
import { describe, expect, it } from 'vitest'
import type { Chat, Message } from '../room/types.ts'
import {
  ConversationStore,
  mentions,
  MOST_CONVERSATIONS,
  readChats,
  toChat,
  toConversation,
} from './conversations.ts'

const says = (role: Message['role'], text: string, state: Message['state']): Message => ({
  id: `${role}-${text}`,
  role,
  text,
  state,
})

/** One branch. */
function line(...messages: Message[]): Chat {
  const nodes = messages.map((message, i) => ({
    message,
    parent: messages[i - 1]?.id ?? null,
  }))
  return { nodes, leaf: messages.at(-1)?.id ?? null }
}

function chat(id: string, at: number) {
  const said = line(says('user', `Question ${id}`, 'done'))
  const kept = toConversation(id, at, 'Tiny', said)
  if (!kept) throw new Error('nothing to keep')
  return kept
}

describe('toConversation', () => {
  it('keeps an unfinished answer as far as it came, and no empty one', () => {
    const said = line(
      says('user', 'Hello\nthere', 'done'),
      says('assistant', 'Hi', 'streaming'),
      says('assistant', '', 'waiting'),
    )
    const kept = toConversation('a', 1, null, said)
    expect(kept?.title).toBe('Hello')
    expect(kept?.messages.map(({ text, state }) => [text, state])).toEqual([
      ['Hello\nthere', 'done'],
      ['Hi', 'stopped'],
    ])
  })

  it('keeps nothing of an empty chat', () => {
    expect(toConversation('a', 1, null, line())).toBeNull()
  })

  it('keeps all branches, and which one was shown', () => {
    const [asked, one, two] = [
      says('user', 'Why?', 'done'),
      says('assistant', 'So.', 'done'),
      says('assistant', 'Because.', 'done'),
    ]
    const nodes = [
      { message: asked, parent: null },
      { message: one, parent: asked.id },
      { message: two, parent: asked.id },
    ]
    const kept = toConversation('a', 1, null, { nodes, leaf: one.id })
    expect(kept && toChat(kept)).toEqual({ nodes, leaf: one.id })
  })

  it('reads chats that were kept without branches', () => {
    const { id, at, title, model } = chat('old', 1)
    const messages = ['q', 'a'].map((key) => ({
      ...{ id: key, role: 'user' as const, text: key, state: 'done' as const },
    }))
    const { nodes, leaf } = toChat({ id, at, title, model, messages })
    expect([nodes.map(({ parent }) => parent), leaf]).toEqual([[null, 'q'], 'a'])
  })
})

describe('files', () => {
  it('come back as they were saved', () => {
    const chats = [chat('a', 1), chat('b', 2)]
    expect(readChats(JSON.stringify(chats))).toEqual(chats)
  })

  it('that are something else are refused in one sentence', () => {
    const wrong = { ...chat('a', 1), messages: [{ role: 'system' }] }
    for (const text of ['', '{}', '[]', 'null', '[1]', JSON.stringify([wrong])])
      expect(() => readChats(text)).toThrow(/^This file holds no chats of Choir; choose/)
  })

  it('are searched in title and text, in any case', () => {
    expect(mentions(chat('Äpfel', 1), ' äpfel ')).toBe(true)
    expect(mentions(chat('a', 1), '')).toBe(true)
    expect(mentions(chat('a', 1), 'pear')).toBe(false)
  })
})

describe('ConversationStore', () => {
  it('lists the newest first, also after a reload', async () => {
    const store = new ConversationStore('order')
    for (const at of [2, 3, 1]) await store.save(chat(String(at), at))
    const again = new ConversationStore('order')
    expect((await again.list()).map(({ id }) => id)).toEqual(['3', '2', '1'])
    await again.remove('3')
    expect((await store.list()).map(({ id }) => id)).toEqual(['2', '1'])
  })

  it('replaces a chat that goes on', async () => {
    const store = new ConversationStore('again')
    await store.save(chat('a', 1))
    await store.save(chat('a', 5))
    expect((await store.list()).map(({ at }) => at)).toEqual([5])
  })

  it('takes several at once', async () => {
    const store = new ConversationStore('several')
    await store.save(chat('a', 1), chat('b', 2))
    expect((await store.list()).map(({ id }) => id)).toEqual(['b', 'a'])
  })

  it('lets the oldest go', async () => {
    const store = new ConversationStore('many')
    for (let at = 0; at < MOST_CONVERSATIONS + 3; at += 1)
      await store.save(chat(String(at), at))
    const kept = await store.list()
    expect([kept.length, kept.at(-1)?.at]).toEqual([MOST_CONVERSATIONS, 3])
  })

  it('leaves out a record that it cannot read', async () => {
    const store = new ConversationStore('odd')
    await store.save(chat('a', 1))
    const db = await openDB('odd', 1)
    await db.put('conversations', { id: 'b', at: 2, messages: 'no' })
    db.close()
    expect((await store.list()).map(({ id }) => id)).toEqual(['a'])
  })
})
