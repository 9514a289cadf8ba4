/** One question or answer. */
import {
  css,
  html,
  LitElement,
  nothing,
  type PropertyValues,
  type TemplateResult,
} from 'lit'
import { customElement, property, query, state } from 'lit/decorators.js'
import type { Message } from '../room/types.ts'
import { emit } from '../shell/emit.ts'
import { icons } from '../shell/icons.ts'
import { controls } from '../styles/controls.ts'
import './message-actions.ts'
import type { MarkdownView } from './markdown-view.ts'
import { prose } from './prose.ts'
import './question-form.ts'
import { liveWords, statsWords } from './stats.ts'

export interface EditedQuestion {
  readonly id: string
  readonly text: string
}

/** @fires choir-edit with an EditedQuestion; those of choir-message-actions. */
@customElement('choir-message')
export class ChoirMessage extends LitElement {
  @property({ attribute: false }) message: Message | undefined
  /** Why the answer is not there yet. */
  @property() waiting = ''
  /** The chat can be changed now: no answer is being written. */
  @property({ type: Boolean }) idle = false
  @property({ type: Boolean }) last = false
  /** It is only read, in a list of earlier chats. */
  @property({ type: Boolean }) kept = false
  /** Longest conversation of the model, tokens; 0: not known. */
  @property({ type: Number }) context = 0
  @state() private editing = false
  @query('.prose') private readonly prose: HTMLElement | undefined
  private view: MarkdownView | null = null

  static override readonly styles = [
    controls,
    prose,
    css`
      :host {
        display: block;
      }
      .asked {
        display: flex;
        justify-content: flex-end;
        align-items: center;
        flex-wrap: wrap;
      }
      .user {
        width: fit-content;
        max-width: min(86%, calc(100% - var(--touch)));
        padding: 10px 16px;
        border-radius: 20px 20px 6px 20px;
        background: var(--accent-soft);
        color: var(--on-accent-soft);
        white-space: pre-wrap;
        overflow-wrap: anywhere;
      }
      .waiting {
        display: flex;
        align-items: center;
        gap: 12px;
        color: var(--ink-soft);
      }
      .dots {
        display: flex;
        gap: 5px;
      }
      .dots i {
        width: 8px;
        height: 8px;
        border-radius: 50%;
        background: var(--voice-0);
        animation: sing 1.2s steps(2) infinite;
      }
      .dots i:nth-child(2) {
        background: var(--voice-1);
        animation-delay: 0.15s;
      }
      .dots i:nth-child(3) {
        background: var(--voice-2);
        animation-delay: 0.3s;
      }
      @keyframes sing {
        0%,
        60%,
        100% {
          transform: none;
        }
        30% {
          transform: translateY(-6px);
        }
      }
      .edit {
        color: var(--ink-soft);
      }
      choir-message-actions.versions {
        flex: 0 0 100%;
        display: flex;
        justify-content: flex-end;
      }
      .note {
        margin-top: 8px;
        color: var(--ink-soft);
        font-size: 14px;
        line-height: 1.4;
      }
      .failed {
        margin-top: 8px;
        padding: 14px 16px;
        border-radius: var(--radius-small);
        background: var(--bad-soft);
      }
    `,
  ]

  protected override render(): TemplateResult | typeof nothing {
    const { message } = this
    if (!message) return nothing
    return message.role === 'user' ? this.question(message) : this.answer(message)
  }

  private question(message: Message): TemplateResult {
    if (this.editing)
      return html`<choir-question-form
        .text=${message.text}
        @choir-cancel=${() => (this.editing = false)}
        @choir-ask=${(event: CustomEvent<string>) => {
          event.stopPropagation()
          this.editing = false
          const edited: EditedQuestion = { id: message.id, text: event.detail }
          emit(this, 'choir-edit', edited)
        }}
      ></choir-question-form>`
    return html`<div class="asked">
      ${
        this.kept
          ? nothing
          : html`<button
              class="icon edit"
              aria-label="Change this question"
              data-testid="question-edit"
              ?disabled=${!this.idle}
              @click=${() => (this.editing = true)}
            >
              ${icons.edit(18)}
            </button>`
      }
      <article
        class="user"
        aria-label="Your question"
        .textContent=${message.text}
      ></article>
      ${
        message.versions && !this.kept
          ? html`<choir-message-actions
              class="versions"
              .message=${message}
              .idle=${this.idle}
            ></choir-message-actions>`
          : nothing
      }
    </div>`
  }

  private answer(message: Message): TemplateResult {
    return html`<article aria-label="Answer">
      ${
        message.text === '' && message.state === 'waiting'
          ? html`<div class="waiting">
              <span class="dots" aria-hidden="true"><i></i><i></i><i></i></span>
              <span>${this.waiting}</span>
            </div>`
          : nothing
      }
      <div class="prose" data-testid="answer-text" ?hidden=${message.text === ''}></div>
      ${this.ending(message)}
    </article>`
  }

  protected override updated(changed: PropertyValues<this>): void {
    const { message, prose: home } = this
    if (!changed.has('message') || message?.role !== 'assistant' || !home) return
    if (message.text === '' && !this.view) return
    if (this.view) this.view.show(message.text, isEnded(message))
    else {
      // Readable at once; set properly as soon as the markdown code is here.
      home.classList.add('plain')
      home.textContent = message.text
      loadView().then(
        ({ MarkdownView: View }) => {
          if (this.view || !this.message) return
          home.classList.remove('plain')
          this.view = new View(home)
          this.view.show(this.message.text, isEnded(this.message))
        },
        () => undefined,
      )
    }
  }

  private ending(message: Message): TemplateResult | typeof nothing {
    if (!isEnded(message)) {
      const words = liveWords(message)
      return words ? html`<p class="note numbers">${words}</p>` : nothing
    }
    return html`${this.note(message)}
    ${
      this.kept
        ? nothing
        : html`<choir-message-actions
            .message=${message}
            .idle=${this.idle}
            .last=${this.last}
          ></choir-message-actions>`
    }`
  }

  private note(message: Message): TemplateResult | typeof nothing {
    if (message.state === 'failed')
      return html`<p class="failed">${message.error ?? 'The answer broke off.'}</p>`
    const cut = message.state === 'done' && message.continuable
    const first =
      message.state === 'stopped' ? 'Stopped' : cut ? 'As long as the settings allow' : ''
    const parts = [first, statsWords(message, this.context)].filter(Boolean)
    return parts.length > 0
      ? html`<p class="note numbers" data-testid="answer-stats">${parts.join(' · ')}</p>`
      : nothing
  }
}

function isEnded({ state }: Message): boolean {
  return state !== 'waiting' && state !== 'streaming'
}

let loading: Promise<typeof import('./markdown-view.ts')> | null = null

function loadView(): Promise<typeof import('./markdown-view.ts')> {
  loading ??= import('./markdown-view.ts')
  loading.catch(() => (loading = null))
  return loading
}
