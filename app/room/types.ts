/**
 * What the screen knows of a room. The session keeps this state up to date and tells by an
 * event; elements only read it.
 */
import type { ChatMessage } from '../../workers/text/types.ts'
import type { AnswerStats, Epoch } from '../../workers/ring/types.ts'
import type { Settings } from './conversation.ts'
import type { Note } from './membership.ts'

export type { Note }

export interface DeviceView {
  readonly id: string
  readonly name: string
  readonly self: boolean
  readonly coordinator: boolean
  readonly engine: 'wasm' | 'webgpu'
  /** Bytes it lends at most. */
  readonly memoryBudget: number
  /** Layers `[from, to)` by the plan, or null when it runs none. */
  readonly span: { readonly from: number; readonly to: number } | null
  /** Holds embedding and head. */
  readonly starter: boolean
  readonly state: DeviceState
  /** One sentence where the plan has no layers for it though it could take some. */
  readonly leftOut: string | null
  /** Running estimates from its own work, null until measured: one token through a layer; */
  readonly msPerLayer: number | null
  /** one row of a prompt through a layer; */
  readonly msPerLayerPrefill: number | null
  /** one token through its stage, on the starter with embedding and head. */
  readonly stageMs: number | null
  /** Its speed against what it usually is: 1 as ever, 3 three times as slow. */
  readonly slowdown: number
  /** Layers beside its span whose weights are in its memory, so that they can move at once. */
  readonly holds: readonly number[]
  /** To this device; null for itself or until measured. */
  readonly rttMs: number | null
  /** To the other devices, as it measures them. */
  readonly links: readonly LinkView[]
  readonly memoryUsed: number
  /** Bytes that a probe could get when the page was opened, or null. */
  readonly memoryProbed: number | null
  /** Null where the browser does not tell. */
  readonly battery: { readonly level: number; readonly charging: boolean } | null
  /** Whether its page is looked at; browsers slow hidden ones down. */
  readonly visible: boolean
}

export interface LinkView {
  readonly device: string
  /** Round trip; null until measured. */
  readonly rttMs: number | null
  /** Bytes per ms that come from there; null until measured. */
  readonly bytesPerMs: number | null
}

export type DeviceState =
  | { readonly kind: 'joining' }
  | { readonly kind: 'idle' }
  | { readonly kind: 'fetching'; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly kind: 'loading'; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly message: string }

export interface Message {
  readonly id: string
  readonly role: 'user' | 'assistant'
  readonly text: string
  readonly state: 'waiting' | 'streaming' | 'done' | 'stopped' | 'failed'
  /** For people, when `failed`. */
  readonly error?: string
  readonly stats?: AnswerStats & { readonly firstTokenMs: number }
  /** While it streams: tokens so far, and milliseconds since the first one. */
  readonly live?: {
    readonly tokens: number
    readonly ms: number
    readonly firstTokenMs: number
  }
  /** It broke off or reached its longest length, and can be continued where it is. */
  readonly continuable?: boolean
  /** Ids of all wordings of this message, itself among them, where there are several. */
  readonly versions?: readonly string[]
}

/** A whole chat with all its branches, as it is kept and taken up again. */
export interface Chat {
  readonly nodes: readonly {
    readonly message: Message
    /** Id of the message before it; null for the first one. */
    readonly parent: string | null
  }[]
  /** The last message that is shown. */
  readonly leaf: string | null
}

export interface Knock {
  readonly id: string
  readonly name: string
  /** Six digits that both sides show. */
  readonly digits: string
}

export type RoomStatus =
  | { readonly kind: 'connecting' }
  /** The devices lack memory. */
  | { readonly kind: 'short'; readonly missingBytes: number }
  | { readonly kind: 'preparing' }
  | { readonly kind: 'ready' }
  | { readonly kind: 'closed'; readonly message: string }

export interface RoomView {
  readonly status: RoomStatus
  readonly model: {
    readonly name: string
    readonly layers: number
    readonly bytes: number
    /** Longest conversation, tokens. */
    readonly context: number
  } | null
  readonly epoch: Epoch | null
  readonly link: string
  /** Six letters that only knock. */
  readonly code: string
  readonly devices: readonly DeviceView[]
  /** Median of the newest laps under today's plan, while one answer ran; or null. */
  readonly lapMs: number | null
  /** What was decided about layers and why, the newest last; at most 16. */
  readonly notes: readonly Note[]
  /** The branch of the chat that is shown. */
  readonly messages: readonly Message[]
  readonly chat: Chat
  /** Answers that other devices wait for. */
  readonly othersAsking: number
  readonly knocks: readonly Knock[]
  /** The newest thing that people should know, in one sentence. */
  readonly notice: string | null
}

/** What can be done with what was said; nothing happens while an answer is written. */
export interface ChatActions {
  /** Asks a question of this chat in other words; the old one stays as another version. */
  edit(question: string, text: string): void
  /** Answers the same question once more; the old answer stays as another version. */
  regenerate(answer: string): void
  /** Goes on with an answer that is `continuable`. */
  continue(answer: string): void
  /** Shows another version of a message, and what followed it. */
  choose(message: string): void
  /** Takes up a chat that was kept. */
  resume(chat: Chat): void
}

/** What the screen can do. Events: `change` whenever `view` is a new object. */
export interface RoomSession extends EventTarget {
  readonly view: RoomView
  ask(text: string): void
  stop(): void
  readonly chat: ChatActions
  /** Forgets the conversation on this device. */
  clear(): void
  admit(knock: string): void
  deny(knock: string): void
  rename(name: string): void
  setMemoryBudget(bytes: number): void
  setSampling(settings: Partial<Settings>): void
  leave(): Promise<void>
}

export type { ChatMessage }
