/** Keeps the running chat on this device whenever an answer ends. */
import type { RoomView } from '../room/types.ts'
import { toConversation, type ConversationStore } from './conversations.ts'

export class ChatKeeper {
  private id: string
  private saved = ''
  /** What was taken up is kept already. */
  private takenUp = false
  private store: Promise<ConversationStore> | null = null

  constructor(
    private readonly open: () => Promise<ConversationStore>,
    private readonly newId: () => string,
    private readonly now: () => number,
  ) {
    this.id = newId()
  }

  /** Call whenever the view changes; saves when something ended since the last time. */
  async keep({ messages, model, chat: shown }: RoomView): Promise<void> {
    const ended = messages.filter(
      ({ role, state }) =>
        role === 'assistant' && state !== 'waiting' && state !== 'streaming',
    )
    const last = ended.at(-1)
    const mark = last
      ? `${last.id} ${last.state} ${last.text.length} ${ended.length}`
      : ''
    if (mark === this.saved || mark === '') return
    this.saved = mark
    if (this.takenUp) {
      this.takenUp = false
      return
    }
    const chat = toConversation(this.id, this.now(), model?.name ?? null, shown)
    if (!chat) return
    try {
      this.store ??= this.open()
      await (await this.store).save(chat)
    } catch {
      // Nothing can be kept here (a private window): the chat goes on all the same.
      this.store = null
    }
  }

  /** The next messages belong to another chat: a new one, or one that is taken up. */
  next(takenUp: string | null = null): void {
    this.id = takenUp ?? this.newId()
    this.takenUp = takenUp !== null
    this.saved = ''
  }
}
