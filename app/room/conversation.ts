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
import type { Message } from './types.ts'

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
  readonly ids: number[]
  tokens: number
  firstTokenMs: number | null
  pumping: Promise<void>
  stopping: boolean
}

export class Conversation {
  #messages: readonly Message[] = []
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

  get messages(): readonly Message[] {
    return this.#messages
  }

  /** Answers that are under way. */
  get running(): number {
    return this.#answer || this.#encoding ? 1 : 0
  }

  set(settings: Partial<Settings>): void {
    this.#settings = { ...this.#settings, ...settings }
  }

  ask(text: string): void {
    const question = text.trim()
    if (question === '' || this.#closed) return
    const tooLong = question.length > MAX_QUESTION
    this.#add({ role: 'user', text: question.slice(0, MAX_QUESTION), state: 'done' })
    const error = 'This question is too long; shorten it and ask again.'
    if (tooLong) this.#add({ role: 'assistant', text: '', state: 'failed', error })
    else this.#add({ role: 'assistant', text: '', state: 'waiting' })
    this.flush()
  }

  /** Sends the next question that waits, if the room can answer. */
  flush(): void {
    const waiting = this.#messages.find(({ state }) => state === 'waiting')
    const join = this.options.join()
    const context = this.options.context()
    if (!waiting || this.#answer || this.#encoding || this.#closed) return
    if (join === null || context === null) return
    void this.#send(waiting.id, join, context)
  }

  stop(): void {
    for (const message of this.#messages)
      if (message.state === 'waiting') this.#update(message.id, { state: 'stopped' })
    const answer = this.#answer
    if (!answer || answer.stopping) return
    answer.stopping = true
    void this.options.stage.stop(answer.sequence).catch(() => undefined)
    this.options.clock.after(STOP_MS, () => {
      if (this.#answer === answer) void this.#end(answer, 'stopped', null)
    })
  }

  /** Forgets all that was said. */
  clear(): void {
    this.stop()
    this.#forget()
    this.#answer = null
    this.#messages = []
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
      const ids = await text.encode(this.#before(id))
      this.#encoding = false
      if (this.#messages.find((message) => message.id === id)?.state !== 'waiting') {
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
        firstTokenMs: null,
        pumping: Promise.resolve(),
        stopping: false,
      }
      this.#answer = answer
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
      answer.firstTokenMs ??= this.options.clock.now() - answer.sentAt
      answer.ids.push(event.id)
      answer.pumping = answer.pumping.then(() => this.#pump(answer))
    } else if (event.kind === 'end') {
      void this.#end(answer, event.reason === 'stopped' ? 'stopped' : 'done', event.stats)
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
  ): Promise<void> {
    await answer.pumping
    const rest = await this.options.text.finish(answer.stream).catch(() => '')
    if (this.#answer !== answer) return
    this.#append(answer, rest)
    this.#answer = null
    const firstTokenMs = answer.firstTokenMs ?? 0
    this.#update(answer.id, {
      state,
      ...(stats ? { stats: { ...stats, firstTokenMs } } : {}),
    })
    this.flush()
  }

  #fail(id: string, error: string): void {
    if (this.#answer?.id === id) {
      void this.options.text.finish(this.#answer.stream).catch(() => undefined)
      this.#answer = null
    }
    this.#update(id, { state: 'failed', error })
    this.flush()
  }

  /** What was said before this answer; empty answers are left out. */
  #before(id: string): ChatMessage[] {
    const end = this.#messages.findIndex((message) => message.id === id)
    const said = this.#messages.slice(0, end).filter(({ text }) => text !== '')
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

  #add(message: Omit<Message, 'id'>): void {
    this.#ids += 1
    this.#messages = [...this.#messages, { ...message, id: `m${this.#ids}` }]
    this.onChange()
  }

  #append(answer: Answer, text: string): void {
    const message = this.#messages.find(({ id }) => id === answer.id)
    if (message && text !== '' && this.#answer === answer)
      this.#update(answer.id, { text: message.text + text })
  }

  #update(id: string, change: Partial<Message>): void {
    this.#messages = this.#messages.map((message) =>
      message.id === id ? { ...message, ...change } : message,
    )
    this.onChange()
  }
}
