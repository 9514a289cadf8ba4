/** Earlier chats of this device. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { Thread } from '../room/thread.ts'
import { announce } from '../shell/announcer.ts'
import { emit } from '../shell/emit.ts'
import { count } from '../shell/format.ts'
import { icons } from '../shell/icons.ts'
import { controls } from '../styles/controls.ts'
import type { Chat } from '../room/types.ts'
import {
  ConversationStore,
  mentions,
  readChats,
  toChat,
  type Conversation,
} from './conversations.ts'
import './message.ts'

type Chats =
  | { readonly kind: 'loading' }
  | { readonly kind: 'listed'; readonly chats: readonly Conversation[] }
  | { readonly kind: 'failed' }

/** Below so many there is nothing to search. */
const MANY = 6

export interface KeptChat {
  readonly id: string
  readonly chat: Chat
}

/**
 * @fires choir-title with the heading of what is shown, '' for the list; choir-take-up with a
 * KeptChat that shall go on.
 */
@customElement('choir-history')
export class ChoirHistory extends LitElement {
  @state() private chats: Chats = { kind: 'loading' }
  @state() private shown: Conversation | null = null
  @state() private words = ''
  @state() private problem = ''
  /** A room is open in which chats can go on. */
  @property({ type: Boolean }) inRoom = false
  private readonly store = new ConversationStore()

  static override readonly styles = [
    controls,
    css`
      :host {
        display: grid;
        gap: 16px;
      }
      ul {
        display: grid;
        gap: 10px;
      }
      li {
        display: flex;
        align-items: center;
        gap: 4px;
        padding-right: 4px;
        border-radius: var(--radius);
        background: var(--card);
        box-shadow: var(--shadow);
      }
      .open {
        flex: 1;
        min-width: 0;
        display: block;
        padding: 12px 4px 12px 16px;
        border-radius: var(--radius);
        background: transparent;
        text-align: left;
      }
      .title {
        display: block;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .open .hint {
        display: block;
        margin-top: 4px;
        font-weight: 400;
        font-size: 14px;
      }
      .files {
        display: grid;
        grid-template-columns: repeat(auto-fit, minmax(160px, 1fr));
        gap: 10px;
      }
      .files label:focus-within {
        outline: 3px solid var(--accent);
        outline-offset: 2px;
      }
      .chat {
        display: grid;
        gap: 20px;
      }
      .chat > * {
        min-width: 0;
      }
    `,
  ]

  override connectedCallback(): void {
    super.connectedCallback()
    this.load()
  }

  private load(): void {
    this.store.list().then(
      (chats) => (this.chats = { kind: 'listed', chats }),
      () => (this.chats = { kind: 'failed' }),
    )
  }

  protected override render(): TemplateResult | typeof nothing {
    const { chats, shown } = this
    if (shown) return this.one(shown)
    if (chats.kind === 'loading') return nothing
    if (chats.kind === 'failed')
      return html`<p>
        This browser does not let Choir keep chats (a private window, perhaps).
      </p>`
    const found = chats.chats.filter((chat) => mentions(chat, this.words))
    return html`<p class="hint">
        ${chats.chats.length === 0 ? 'No chats yet. They' : 'They'} are kept on this phone
        only.
      </p>
      ${chats.chats.length < MANY ? nothing : this.search()}
      ${
        found.length === 0 && this.words
          ? html`<p class="hint" role="status">No chat speaks of that.</p>`
          : html`<ul>
              ${found.map((chat) => this.row(chat))}
            </ul>`
      }
      ${this.problem ? html`<p class="error" role="alert">${this.problem}</p>` : nothing}
      <div class="files">
        ${
          chats.chats.length === 0
            ? nothing
            : html`<button class="outline" @click=${() => saveFile(chats.chats)}>
                Save all as a file
              </button>`
        }
        <label class="button outline"
          >Read a file<input
            class="visually-hidden"
            type="file"
            accept="application/json,.json"
            data-testid="chats-import"
            @change=${(event: Event) => this.readFile(event)}
        /></label>
      </div>`
  }

  private search(): TemplateResult {
    return html`<label class="visually-hidden" for="search">Search the chats</label>
      <input
        id="search"
        type="search"
        placeholder="Search"
        autocomplete="off"
        @input=${(event: Event) => {
          if (event.target instanceof HTMLInputElement) this.words = event.target.value
        }}
      />`
  }

  private row(chat: Conversation): TemplateResult {
    return html`<li>
      <button class="open" data-testid="kept-chat" @click=${() => this.show(chat)}>
        <span class="title">${chat.title}</span>
        <span class="hint">${when(chat.at)}${chat.model ? ` · ${chat.model}` : ''}</span>
      </button>
      <button
        class="icon"
        aria-label="Delete the chat “${chat.title}”"
        @click=${() => this.forget(chat.id)}
      >
        ${icons.trash()}
      </button>
    </li>`
  }

  private one(chat: Conversation): TemplateResult {
    const { nodes, leaf } = toChat(chat)
    return html`<div class="row">
        <button class="outline" @click=${() => this.show(null)}>
          ${icons.back()}All chats
        </button>
        ${
          this.inRoom
            ? html`<button
                class="primary"
                data-testid="take-up"
                @click=${() => emit(this, 'choir-take-up', { id: chat.id, chat: toChat(chat) })}
              >
                Go on with it
              </button>`
            : nothing
        }
      </div>
      <div class="chat">
        ${Thread.of(nodes, leaf).path.map(
          (message) => html`<choir-message kept .message=${message}></choir-message>`,
        )}
      </div>`
  }

  private show(chat: Conversation | null): void {
    this.shown = chat
    emit(this, 'choir-title', chat?.title ?? '')
  }

  private forget(id: string): void {
    void this.store.remove(id).then(
      () => this.load(),
      () => (this.chats = { kind: 'failed' }),
    )
  }

  private readFile(event: Event): void {
    const field = event.target
    const file = field instanceof HTMLInputElement ? field.files?.[0] : undefined
    if (!(field instanceof HTMLInputElement) || !file) return
    this.problem = ''
    file
      .text()
      .then(async (json) => {
        const chats = readChats(json)
        await this.store.save(...chats)
        announce(count(chats.length, 'chat was read.', 'chats were read.'))
        this.load()
      })
      .catch((error: unknown) => {
        const own = error instanceof Error && error.message.startsWith('This file')
        this.problem = own
          ? error.message
          : 'The chats could not be kept: there may be too little space on this phone.'
      })
      // The same file can be chosen again.
      .finally(() => (field.value = ''))
  }
}

function saveFile(chats: readonly Conversation[]): void {
  const file = new Blob([JSON.stringify(chats, null, 2)], { type: 'application/json' })
  const url = URL.createObjectURL(file)
  const anchor = document.createElement('a')
  anchor.href = url
  anchor.download = 'choir-chats.json'
  anchor.click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

function when(at: number): string {
  return new Date(at).toLocaleString(undefined, {
    dateStyle: 'medium',
    timeStyle: 'short',
  })
}
