/** Chats kept on this device, newest first. They never leave it. */
import { openDB, type DBSchema, type IDBPDatabase } from 'idb'
import * as v from 'valibot'
import type { Message } from '../room/types.ts'

const message = v.object({
  id: v.string(),
  role: v.picklist(['user', 'assistant']),
  text: v.string(),
  state: v.picklist(['done', 'stopped', 'failed']),
})

const conversation = v.object({
  id: v.string(),
  /** Milliseconds since 1970. */
  at: v.number(),
  title: v.string(),
  model: v.nullable(v.string()),
  messages: v.array(message),
})

export type Conversation = v.InferOutput<typeof conversation>

interface Schema extends DBSchema {
  conversations: { key: string; value: unknown; indexes: { at: number } }
}

/** More are not kept: the oldest go. */
export const MOST_CONVERSATIONS = 200
const TITLE_LENGTH = 80

/** Null while there is nothing worth keeping. */
export function toConversation(
  id: string,
  at: number,
  model: string | null,
  messages: readonly Message[],
): Conversation | null {
  const first = messages.find(({ role }) => role === 'user')
  if (!first) return null
  const title = first.text.trim().split('\n')[0]?.slice(0, TITLE_LENGTH) ?? ''
  const kept = messages.flatMap(({ id: key, role, text, state }) => {
    // Still being written when it was kept: as far as it came.
    const final = state === 'waiting' || state === 'streaming' ? 'stopped' : state
    return role === 'assistant' && text === ''
      ? []
      : [{ id: key, role, text, state: final }]
  })
  return { id, at, title, model, messages: kept }
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

  async save(kept: Conversation): Promise<void> {
    const db = await this.open()
    const transaction = db.transaction('conversations', 'readwrite')
    await transaction.store.put(kept)
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
