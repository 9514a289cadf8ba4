/** The conversation. */
import {
  css,
  html,
  LitElement,
  nothing,
  type PropertyValues,
  type TemplateResult,
} from 'lit'
import { customElement, property, query } from 'lit/decorators.js'
import { repeat } from 'lit/directives/repeat.js'
import type { Message } from '../room/types.ts'
import { announce } from '../shell/announcer.ts'
import { icons } from '../shell/icons.ts'
import { controls } from '../styles/controls.ts'
import { FollowEnd } from './follow.ts'
import './message.ts'
import { SpokenAnswer } from './spoken.ts'

/** Between two announcements of a growing answer. */
const SPEAK_MS = 3000

@customElement('choir-message-list')
export class ChoirMessageList extends LitElement {
  @property({ attribute: false }) messages: readonly Message[] = []
  /** Why an answer that waits is not there yet. */
  @property() waiting = ''
  /** Longest conversation of the model, tokens; 0: not known. */
  @property({ type: Number }) context = 0
  @query('.scroller') private readonly scroller: HTMLElement | undefined
  @query('.column') private readonly column: HTMLElement | undefined
  private readonly follow = new FollowEnd(this)
  private spoken: { readonly id: string; readonly answer: SpokenAnswer } | null = null
  private timer: ReturnType<typeof setTimeout> | null = null

  static override readonly styles = [
    controls,
    css`
      :host {
        display: block;
        position: relative;
        min-height: 0;
      }
      .scroller {
        height: 100%;
        overflow-y: auto;
        overscroll-behavior: contain;
        scrollbar-width: thin;
      }
      .scroller:focus-visible {
        outline-offset: -3px;
      }
      .column {
        display: grid;
        gap: 22px;
        max-width: var(--column);
        margin: 0 auto;
        padding: 20px var(--edge-right) 28px var(--edge-left);
      }
      .column > * {
        min-width: 0;
        /* Containment clips at this box: focus rings need room. */
        margin: -4px -14px;
        padding: 4px 14px;
      }
      /* What is out of sight costs nothing while the answer grows. */
      .column > :not(:last-child) {
        content-visibility: auto;
        contain-intrinsic-size: auto 140px;
      }
      .newest {
        position: absolute;
        right: 50%;
        bottom: 12px;
        transform: translateX(50%);
        background: var(--card);
        box-shadow: var(--shadow);
        border: 1px solid var(--line);
      }
    `,
  ]

  protected override firstUpdated(): void {
    if (this.scroller && this.column) this.follow.attach(this.scroller, this.column)
  }

  protected override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has('messages')) return
    const before = changed.get('messages')
    const last = this.messages.at(-1)
    if (before && this.messages.length > before.length) this.follow.jump()
    if (last?.role === 'assistant' && this.spoken?.id !== last.id)
      // What was there before this screen opened is not read out.
      this.spoken = before ? { id: last.id, answer: new SpokenAnswer() } : null
    this.speakSoon()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    if (this.timer) clearTimeout(this.timer)
    this.timer = null
  }

  protected override render(): TemplateResult {
    const last = this.messages.at(-1)
    const idle = last?.state !== 'waiting' && last?.state !== 'streaming'
    return html`<div
        class="scroller"
        tabindex="0"
        role="region"
        aria-label="Conversation"
      >
        <div class="column">
          ${repeat(
            this.messages,
            ({ id }) => id,
            (message) =>
              html`<choir-message
                data-testid="message-${message.role}"
                data-id=${message.id}
                data-state=${message.state}
                .message=${message}
                .waiting=${message.state === 'waiting' ? this.waiting : ''}
                .context=${this.context}
                .idle=${idle}
                .last=${message === last}
              ></choir-message>`,
          )}
        </div>
      </div>
      ${
        this.follow.away
          ? html`<button
              class="icon newest"
              aria-label="To the newest message"
              @click=${() => this.follow.jump()}
            >
              ${icons.down()}
            </button>`
          : nothing
      }`
  }

  private speakSoon(): void {
    if (!this.spoken || this.timer) return
    this.timer = setTimeout(() => {
      this.timer = null
      this.speak()
    }, SPEAK_MS)
  }

  private speak(): void {
    const message = this.messages.find(({ id }) => id === this.spoken?.id)
    if (!this.spoken || !message) return
    const ended = message.state !== 'waiting' && message.state !== 'streaming'
    const words = this.spoken.answer.next(message.text, ended)
    const error =
      message.state === 'failed' ? (message.error ?? 'The answer broke off.') : ''
    const text = [words, error].filter(Boolean).join(' ')
    if (text) announce(text)
    if (ended) this.spoken = null
  }
}
