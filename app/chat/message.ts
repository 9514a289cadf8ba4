/** One question or answer. */
import {
  css,
  html,
  LitElement,
  nothing,
  type PropertyValues,
  type TemplateResult,
} from 'lit'
import { customElement, property, query } from 'lit/decorators.js'
import type { Message } from '../room/types.ts'
import { emit } from '../shell/emit.ts'
import { icons } from '../shell/icons.ts'
import { controls } from '../styles/controls.ts'
import type { MarkdownView } from './markdown-view.ts'
import { prose } from './prose.ts'
import { statsWords } from './stats.ts'

/** @fires choir-retry when the question should be asked again. */
@customElement('choir-message')
export class ChoirMessage extends LitElement {
  @property({ attribute: false }) message: Message | undefined
  /** Whether the room can answer now. */
  @property({ type: Boolean }) ready = false
  /** Offers to ask again. */
  @property({ type: Boolean }) retryable = false
  @query('.prose') private readonly prose: HTMLElement | undefined
  private view: MarkdownView | null = null

  static override readonly styles = [
    controls,
    prose,
    css`
      :host {
        display: block;
      }
      .user {
        width: fit-content;
        max-width: 86%;
        margin-left: auto;
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
        animation: sing 1.2s ease-in-out infinite;
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
      .note {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 4px 12px;
        margin-top: 8px;
        color: var(--ink-soft);
        font-size: 14px;
        line-height: 1.4;
      }
      .failed {
        display: grid;
        gap: 10px;
        justify-items: start;
        margin-top: 8px;
        padding: 14px 16px;
        border-radius: var(--radius-small);
        background: var(--bad-soft);
      }
      .failed button {
        background: var(--card);
      }
    `,
  ]

  protected override render(): TemplateResult | typeof nothing {
    const { message } = this
    if (!message) return nothing
    if (message.role === 'user')
      return html`<article
        class="user"
        aria-label="Your question"
        .textContent=${message.text}
      ></article>`
    return html`<article aria-label="Answer">
      ${message.text === '' && message.state === 'waiting' ? this.waiting() : nothing}
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

  private waiting(): TemplateResult {
    return html`<div class="waiting">
      <span class="dots" aria-hidden="true"><i></i><i></i><i></i></span>
      <span
        >${
          this.ready
            ? 'Reading your question …'
            : 'The room is still getting ready – your question waits.'
        }</span
      >
    </div>`
  }

  private ending(message: Message): TemplateResult | typeof nothing {
    const stats = statsWords(message)
    if (message.state === 'failed')
      return html`<div class="failed">
        <p>${message.error ?? 'The answer broke off.'}</p>
        ${
          this.retryable
            ? html`<button @click=${() => emit(this, 'choir-retry')}>
                ${icons.retry()}Ask again
              </button>`
            : nothing
        }
      </div>`
    if (message.state !== 'done' && message.state !== 'stopped') return nothing
    const parts = [message.state === 'stopped' ? 'Stopped' : '', stats].filter(Boolean)
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
