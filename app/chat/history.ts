/** Earlier chats of this device. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, state } from 'lit/decorators.js'
import { emit } from '../shell/emit.ts'
import { icons } from '../shell/icons.ts'
import { controls } from '../styles/controls.ts'
import { ConversationStore, type Conversation } from './conversations.ts'
import './message.ts'

type Chats =
  | { readonly kind: 'loading' }
  | { readonly kind: 'listed'; readonly chats: readonly Conversation[] }
  | { readonly kind: 'failed' }

/** @fires choir-title with the heading of what is shown, '' for the list. */
@customElement('choir-history')
export class ChoirHistory extends LitElement {
  @state() private chats: Chats = { kind: 'loading' }
  @state() private shown: Conversation | null = null
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
    if (chats.chats.length === 0)
      return html`<p class="hint">No chats yet. They are kept on this device only.</p>`
    return html`<p class="hint">Kept on this device only.</p>
      <ul>
        ${chats.chats.map(
          (chat) =>
            html`<li>
              <button class="open" @click=${() => this.show(chat)}>
                <span class="title">${chat.title}</span>
                <span class="hint"
                  >${when(chat.at)}${chat.model ? ` · ${chat.model}` : ''}</span
                >
              </button>
              <button
                class="icon"
                aria-label="Delete the chat “${chat.title}”"
                @click=${() => this.forget(chat.id)}
              >
                ${icons.trash()}
              </button>
            </li>`,
        )}
      </ul>
      <button class="outline" @click=${() => this.save(chats.chats)}>
        Save all as a file
      </button>`
  }

  private one(chat: Conversation): TemplateResult {
    return html`<button class="outline" @click=${() => this.show(null)}>
        ${icons.back()}All chats
      </button>
      <div class="chat">
        ${chat.messages.map(
          (message) => html`<choir-message .message=${message}></choir-message>`,
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

  private save(chats: readonly Conversation[]): void {
    const file = new Blob([JSON.stringify(chats, null, 2)], { type: 'application/json' })
    const url = URL.createObjectURL(file)
    const anchor = document.createElement('a')
    anchor.href = url
    anchor.download = 'choir-chats.json'
    anchor.click()
    setTimeout(() => URL.revokeObjectURL(url), 10_000)
  }
}

function when(at: number): string {
  return new Date(at).toLocaleString(undefined, {
    dateStyle: 'medium',
    timeStyle: 'short',
  })
}
