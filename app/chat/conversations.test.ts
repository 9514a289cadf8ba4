import 'fake-indexeddb/auto'
import { openDB } from 'idb'
import { describe, expect, it } from 'vitest'
import type { Message } from '../room/types.ts'
import { ConversationStore, MOST_CONVERSATIONS, toConversation } from './conversations.ts'

const says = (role: Message['role'], text: string, state: Message['state']): Message => ({
  id: `${role}-${text}`,
  role,
  text,
  state,
})

function chat(id: string, at: number) {
  const kept = toConversation(id, at, 'Tiny', [says('user', `Question ${id}`, 'done')])
  if (!kept) throw new Error('nothing to keep')
  return kept
}

describe('toConversation', () => {
  it('keeps an unfinished answer as far as it came, and no empty one', () => {
    const kept = toConversation('a', 1, null, [
      says('user', 'Hello\nthere', 'done'),
      says('assistant', 'Hi', 'streaming'),
      says('assistant', '', 'waiting'),
    ])
    expect(kept?.title).toBe('Hello')
    expect(kept?.messages.map(({ text, state }) => [text, state])).toEqual([
      ['Hello\nthere', 'done'],
      ['Hi', 'stopped'],
    ])
  })

  it('keeps nothing of an empty chat', () => {
    expect(toConversation('a', 1, null, [])).toBeNull()
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
