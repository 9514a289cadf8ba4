/** The chat of this device: questions wait, are asked, and their answers stream in. */
import {
  GREEDY,
  type AnswerEvent,
  type AnswerStats,
  type Sampling,
} from '../../workers/ring/types.ts'
import type { StageApi } from '../../workers/stage/api.ts'
import type { ChatMessage, TextApi } from '../../workers/text/types.ts'
import type { Clock } from './clock.ts'
import { sentenceOf } from './preparer.ts'
import { Thread } from './thread.ts'
import type { Chat, ChatActions, Message } from './types.ts'

/** Longest question, in UTF-16 units. */
export const MAX_QUESTION = 32_768
/** After Stop an answer that does not end is given up, ms. */
const STOP_MS = 3000

export interface Settings extends Sampling {
  readonly maxTokens: number
  readonly system: string
  /** Several guessed tokens are checked in one lap; the answer stays the same. */
  readonly speculate: boolean
}

export const DEFAULT_SETTINGS: Settings = {
  ...GREEDY,
  maxTokens: 512,
  system: '',
  speculate: true,
}

export interface ConversationOptions {
  readonly stage: Pick<StageApi, 'ask' | 'stop' | 'forget'>
  readonly text: Pick<TextApi, 'encode' | 'push' | 'finish'>
  readonly clock: Clock
  /** Longest context of the model, or null while that is not known: nothing is asked yet. */
  readonly context: () => number | null
  /** This device's join number, or null while the room cannot answer. */
  readonly join: () => number | null
}

interface Answer {
  readonly id: string
  readonly sequence: number
  readonly stream: number
  readonly sentAt: number
  /** Tokens that are not text yet. */
  readonly ids: number[]
  tokens: number
  firstTokenAt: number
  firstTokenMs: number | null
  pumping: Promise<void>
  stopping: boolean
}

export class Conversation implements ChatActions {
  #thread = Thread.EMPTY
  /** Token ids of answers, to go on exactly where they ended. */
  readonly #said = new Map<string, number[]>()
  #settings = DEFAULT_SETTINGS
  #answer: Answer | null = null
  /** Sequence of the whole conversation, so that caches are used again. */
  #sequence: { readonly join: number; readonly number: number } | null = null
  #counter = 0
  #streams = 0
  #ids = 0
  #encoding = false
  #closed = false

  constructor(
    private readonly options: ConversationOptions,
    private readonly onChange: () => void,
  ) {}

  get thread(): Thread {
    return this.#thread
  }

  /** Answers that are under way. */
  get running(): number {
    return this.#answer || this.#encoding ? 1 : 0
  }

  set(settings: Partial<Settings>): void {
    this.#settings = { ...this.#settings, ...settings }
  }

  ask(text: string): void {
    this.#askBehind(this.#thread.leaf, text)
  }

  /** Asks a question of this chat in other words, on a branch of its own. */
  edit(question: string, text: string): void {
    if (this.running > 0 || this.#messageOf(question)?.role !== 'user') return
    this.#askBehind(this.#thread.parentOf(question), text)
  }

  /** Answers the same question once more, on a branch of its own. */
  regenerate(answer: string): void {
    if (this.running > 0 || this.#messageOf(answer)?.role !== 'assistant') return
    this.#add(
      { role: 'assistant', text: '', state: 'waiting' },
      this.#thread.parentOf(answer),
    )
    this.flush()
  }

  /** Goes on with an answer where it ended. */
  continue(answer: string): void {
    const message = this.#messageOf(answer)
    if (this.running > 0 || this.#closed || !message?.continuable) return
    if (this.#thread.leaf !== answer) return
    this.#update(answer, { state: 'waiting', continuable: false })
    this.flush()
  }

  choose(message: string): void {
    if (this.running > 0) return
    this.#thread = this.#thread.choose(message)
    this.onChange()
  }

  /** Takes up a chat that was kept. */
  resume({ nodes, leaf }: Chat): void {
    this.clear()
    const ids = new Map(nodes.map(({ message }) => [message.id, this.#newId()]))
    const renamed = (id: string | null): string | null =>
      id === null ? null : (ids.get(id) ?? null)
    this.#thread = Thread.of(
      nodes.map(({ message: { id, role, text, state }, parent }) => ({
        message: { id: ids.get(id) ?? this.#newId(), role, text, state },
        parent: renamed(parent),
      })),
      renamed(leaf),
    )
    this.onChange()
  }

  #askBehind(parent: string | null, text: string): void {
    const question = text.trim()
    if (question === '' || this.#closed) return
    const tooLong = question.length > MAX_QUESTION
    this.#add(
      { role: 'user', text: question.slice(0, MAX_QUESTION), state: 'done' },
      parent,
    )
    const error = 'This question is too long; shorten it and ask again.'
    if (tooLong) this.#add({ role: 'assistant', text: '', state: 'failed', error })
    else this.#add({ role: 'assistant', text: '', state: 'waiting' })
    this.flush()
  }

  /** Sends the next question that waits, if the room can answer. */
  flush(): void {
    const waiting = this.#thread.path.find(({ state }) => state === 'waiting')
    const join = this.options.join()
    const context = this.options.context()
    if (!waiting || this.#answer || this.#encoding || this.#closed) return
    if (join === null || context === null) return
    void this.#send(waiting.id, join, context)
  }

  stop(): void {
    for (const message of this.#thread.path)
      if (message.state === 'waiting') this.#halt(message.id)
    const answer = this.#answer
    if (!answer || answer.stopping) return
    answer.stopping = true
    void this.options.stage.stop(answer.sequence).catch(() => undefined)
    this.options.clock.after(STOP_MS, () => {
      if (this.#answer === answer) void this.#end(answer, 'stopped', null, true)
    })
  }

  /** Forgets all that was said. */
  clear(): void {
    this.stop()
    this.#forget()
    this.#answer = null
    this.#thread = Thread.EMPTY
    this.#said.clear()
    this.onChange()
  }

  close(): void {
    this.stop()
    this.#closed = true
  }

  async #send(id: string, join: number, context: number): Promise<void> {
    const { stage, text, clock } = this.options
    this.#encoding = true
    this.onChange()
    try {
      const said = this.#said.get(id) ?? []
      const ids = [...(await text.encode(this.#before(id))), ...said]
      this.#encoding = false
      if (this.#messageOf(id)?.state !== 'waiting') {
        this.onChange()
        this.flush()
        return
      }
      const room = context - ids.length
      if (room < 1) {
        throw new Error(
          'This conversation is longer than the model can read; start a new one.',
        )
      }
      const sequence = this.#sequenceFor(join)
      this.#streams += 1
      const answer: Answer = {
        id,
        sequence,
        stream: this.#streams,
        sentAt: clock.now(),
        ids: [],
        tokens: 0,
        firstTokenAt: 0,
        firstTokenMs: null,
        pumping: Promise.resolve(),
        stopping: false,
      }
      this.#answer = answer
      if (said.length > 0)
        this.#update(id, { text: await text.push(answer.stream, said) })
      this.#update(id, { state: 'streaming' })
      const { maxTokens, speculate, temperature, topK, topP, repetitionPenalty, seed } =
        this.#settings
      await stage.ask(
        {
          sequence,
          ids,
          maxTokens: Math.max(1, Math.min(maxTokens, room)),
          sampling: { temperature, topK, topP, repetitionPenalty, seed },
          speculate,
        },
        (event) => this.#hear(answer, event),
      )
    } catch (error) {
      this.#encoding = false
      this.#fail(id, sentenceOf(error, 'The question could not be asked'))
    }
  }

  #hear(answer: Answer, event: AnswerEvent): void {
    if (this.#answer !== answer || event.sequence !== answer.sequence) return
    if (event.kind === 'token') {
      // After a change of the plan a token may come twice.
      if (event.index < answer.tokens) return
      answer.tokens = event.index + 1
      if (answer.firstTokenMs === null) {
        answer.firstTokenAt = this.options.clock.now()
        answer.firstTokenMs = answer.firstTokenAt - answer.sentAt
      }
      answer.ids.push(event.id)
      const said = this.#said.get(answer.id)
      if (said) said.push(event.id)
      else this.#said.set(answer.id, [event.id])
      answer.pumping = answer.pumping.then(() => this.#pump(answer))
    } else if (event.kind === 'end') {
      const state = event.reason === 'stopped' ? 'stopped' : 'done'
      void this.#end(answer, state, event.stats, event.reason !== 'eos')
    } else {
      this.#fail(answer.id, sentenceOf(new Error(event.message), 'The answer broke off'))
    }
  }

  /** Turns the tokens that have come since into text; several at a time when they come fast. */
  async #pump(answer: Answer): Promise<void> {
    if (answer.ids.length === 0) return
    try {
      this.#append(
        answer,
        await this.options.text.push(answer.stream, answer.ids.splice(0)),
      )
    } catch (error) {
      this.#fail(answer.id, sentenceOf(error, 'The answer could not be read'))
    }
  }

  async #end(
    answer: Answer,
    state: 'done' | 'stopped',
    stats: AnswerStats | null,
    continuable: boolean,
  ): Promise<void> {
    await answer.pumping
    const rest = await this.options.text.finish(answer.stream).catch(() => '')
    if (this.#answer !== answer) return
    this.#append(answer, rest)
    this.#answer = null
    const firstTokenMs = answer.firstTokenMs ?? 0
    this.#finish(answer.id, {
      state,
      continuable: continuable && this.#said.has(answer.id),
      ...(stats ? { stats: { ...stats, firstTokenMs } } : {}),
    })
    this.flush()
  }

  /** It was waiting: as far as it came before, it can be continued. */
  #halt(id: string): void {
    this.#finish(id, { state: 'stopped', continuable: this.#said.has(id) })
  }

  /** @param change the message's last one, unless it is continued. */
  #finish(id: string, change: Partial<Message>): void {
    if (!change.continuable) this.#said.delete(id)
    this.#update(id, change)
  }

  #fail(id: string, error: string): void {
    if (this.#answer?.id === id) {
      void this.options.text.finish(this.#answer.stream).catch(() => undefined)
      this.#answer = null
    }
    this.#finish(id, { state: 'failed', error, continuable: this.#said.has(id) })
    this.flush()
  }

  /** What was said before this answer; empty answers are left out. */
  #before(id: string): ChatMessage[] {
    const { path } = this.#thread
    const end = path.findIndex((message) => message.id === id)
    const said = path.slice(0, end).filter(({ text }) => text !== '')
    const { system } = this.#settings
    return [
      ...(system === '' ? [] : [{ role: 'system' as const, content: system }]),
      ...said.map(({ role, text }) => ({ role, content: text })),
    ]
  }

  #sequenceFor(join: number): number {
    if (this.#sequence?.join !== join) {
      this.#counter = (this.#counter + 1) % 65_536
      this.#sequence = { join, number: join * 65_536 + this.#counter }
    }
    return this.#sequence.number
  }

  #forget(): void {
    const sequence = this.#sequence?.number
    this.#sequence = null
    if (sequence !== undefined)
      void this.options.stage.forget(sequence).catch(() => undefined)
  }

  #newId(): string {
    this.#ids += 1
    return `m${this.#ids}`
  }

  #messageOf(id: string): Message | undefined {
    return this.#thread.nodes.get(id)?.message
  }

  #add(message: Omit<Message, 'id'>, parent = this.#thread.leaf): void {
    this.#thread = this.#thread.add({ ...message, id: this.#newId() }, parent)
    this.onChange()
  }

  #append(answer: Answer, text: string): void {
    const message = this.#messageOf(answer.id)
    if (!message || text === '' || this.#answer !== answer) return
    const { tokens, firstTokenMs, firstTokenAt } = answer
    const ms = this.options.clock.now() - firstTokenAt
    this.#update(answer.id, {
      text: message.text + text,
      live: { tokens, ms, firstTokenMs: firstTokenMs ?? 0 },
    })
  }

  #update(id: string, change: Partial<Message>): void {
    this.#thread = this.#thread.change(id, change)
    this.onChange()
  }
}
