/** Chats kept on this device, newest first. They never leave it. */
import { openDB, type DBSchema, type IDBPDatabase } from 'idb'
import * as v from 'valibot'
import type { Chat } from '../room/types.ts'

/** No imported text is longer, characters. */
const LONGEST_TEXT = 1_000_000
const id = v.pipe(v.string(), v.minLength(1), v.maxLength(100))
const title = v.pipe(v.string(), v.maxLength(200))

const message = v.object({
  id,
  role: v.picklist(['user', 'assistant']),
  text: v.pipe(v.string(), v.maxLength(LONGEST_TEXT)),
  state: v.picklist(['done', 'stopped', 'failed']),
  /** Message before it; left out where that is the one before it in the list. */
  parent: v.optional(v.nullable(id)),
})

const conversation = v.object({
  id,
  /** Milliseconds since 1970. */
  at: v.pipe(v.number(), v.finite()),
  title,
  model: v.nullable(title),
  messages: v.pipe(v.array(message), v.minLength(1), v.maxLength(10_000)),
  /** Last message of the branch that was shown; without it, the last message. */
  leaf: v.optional(id),
})

export type Conversation = v.InferOutput<typeof conversation>

/** As it is saved to and read from a file. */
const file = v.pipe(v.array(conversation), v.minLength(1), v.maxLength(10_000))

interface Schema extends DBSchema {
  conversations: { key: string; value: unknown; indexes: { at: number } }
}

/** More are not kept: the oldest go. */
export const MOST_CONVERSATIONS = 200
const TITLE_LENGTH = 80

/** Null while there is nothing worth keeping. */
export function toConversation(
  key: string,
  at: number,
  model: string | null,
  { nodes, leaf }: Chat,
): Conversation | null {
  const first = nodes.find(({ message: { role } }) => role === 'user')?.message
  if (!first) return null
  const named = first.text.trim().split('\n')[0]?.slice(0, TITLE_LENGTH) ?? ''
  const parents = new Set(nodes.map(({ parent }) => parent))
  const kept = nodes.filter(
    ({ message: { id, role, text } }) =>
      role === 'user' || text !== '' || parents.has(id),
  )
  const messages = kept.map(({ message: { id, role, text, state }, parent }) => ({
    id,
    role,
    text,
    // Still being written when it was kept: as far as it came.
    state: state === 'waiting' || state === 'streaming' ? ('stopped' as const) : state,
    parent,
  }))
  const end = nodes.find(({ message }) => message.id === leaf)
  const last = end && kept.includes(end) ? leaf : end?.parent
  return { id: key, at, title: named, model, messages, ...(last && { leaf: last }) }
}

/** To go on with it in a room. */
export function toChat({ messages, leaf }: Conversation): Chat {
  const nodes = messages.map(({ parent, ...message }, i) => ({
    message,
    parent: parent === undefined ? (messages[i - 1]?.id ?? null) : parent,
  }))
  return { nodes, leaf: leaf ?? messages.at(-1)?.id ?? null }
}

/**
 * Chats from a file that “Save all” wrote.
 * @throws Error with one sentence where it is none.
 */
export function readChats(json: string): Conversation[] {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    value = null
  }
  const parsed = v.safeParse(file, value)
  if (!parsed.success)
    throw new Error(
      'This file holds no chats of Choir; choose one that “Save all as a file” wrote.',
    )
  return parsed.output
}

/** Whether a chat speaks of something, in any letter case and on any branch. */
export function mentions({ title, messages }: Conversation, words: string): boolean {
  const wanted = words.trim().toLocaleLowerCase()
  const has = (text: string): boolean => text.toLocaleLowerCase().includes(wanted)
  return wanted === '' || has(title) || messages.some(({ text }) => has(text))
}

export class ConversationStore {
  private database: Promise<IDBPDatabase<Schema>> | null = null

  constructor(private readonly name = 'choir-chats') {}

  private open(): Promise<IDBPDatabase<Schema>> {
    this.database ??= openDB<Schema>(this.name, 1, {
      upgrade(db) {
        db.createObjectStore('conversations', { keyPath: 'id' }).createIndex('at', 'at')
      },
      terminated: () => (this.database = null),
    }).catch((error: unknown) => {
      this.database = null
      throw error
    })
    return this.database
  }

  /** All or none of them. */
  async save(...kept: readonly Conversation[]): Promise<void> {
    const db = await this.open()
    const transaction = db.transaction('conversations', 'readwrite')
    for (const one of kept) await transaction.store.put(one)
    let surplus = (await transaction.store.count()) - MOST_CONVERSATIONS
    let cursor = surplus > 0 ? await transaction.store.index('at').openCursor() : null
    while (cursor && surplus > 0) {
      await cursor.delete()
      surplus -= 1
      cursor = await cursor.continue()
    }
    await transaction.done
  }

  /** Newest first; records that can't be read are left out. */
  async list(): Promise<Conversation[]> {
    const db = await this.open()
    const records = await db.getAllFromIndex('conversations', 'at')
    return records.reverse().flatMap((record) => {
      const parsed = v.safeParse(conversation, record)
      return parsed.success ? [parsed.output] : []
    })
  }

  async remove(id: string): Promise<void> {
    const db = await this.open()
    await db.delete('conversations', id)
  }
}
