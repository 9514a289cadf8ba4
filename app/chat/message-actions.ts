/** What can be done with a message: copy, go on, ask again, look at its other versions. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import type { Message } from '../room/types.ts'
import { emit } from '../shell/emit.ts'
import { icons } from '../shell/icons.ts'
import { controls } from '../styles/controls.ts'
import { COPIED_MS, copyText } from './copy.ts'

/**
 * @fires choir-continue and choir-regenerate with the answer's id, choir-choose with the id of
 * another version.
 */
@customElement('choir-message-actions')
export class ChoirMessageActions extends LitElement {
  @property({ attribute: false }) message: Message | undefined
  @property({ type: Boolean }) idle = false
  @property({ type: Boolean }) last = false
  @state() private copied = false

  static override readonly styles = [
    controls,
    css`
      :host {
        display: block;
      }
      .actions {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        margin: 2px 0 0 -12px;
        color: var(--ink-soft);
      }
      .actions button.icon {
        color: inherit;
      }
      .actions button:disabled {
        opacity: 0.45;
      }
      .wide {
        margin: 4px 6px 4px 12px;
      }
      .versions {
        display: flex;
        align-items: center;
        font-size: 14px;
      }
      .failed {
        margin-left: 0;
      }
    `,
  ]

  protected override render(): TemplateResult | typeof nothing {
    const { message } = this
    if (!message) return nothing
    return html`<div class="actions">
      ${message.role === 'assistant' ? this.answerActions(message) : nothing}
      ${message.versions ? this.versions(message, message.versions) : nothing}
    </div>`
  }

  private answerActions(message: Message): TemplateResult {
    const failed = message.state === 'failed'
    return html`${
      message.text === ''
        ? nothing
        : html`<button
            class="icon"
            aria-label="Copy the answer"
            @click=${() => this.copy(message.text)}
          >
            ${this.copied ? icons.check(18) : icons.copy(18)}
          </button>`
    }${
      this.last && !failed
        ? html`<button
            class="icon"
            aria-label="Answer once more"
            data-testid="regenerate"
            ?disabled=${!this.idle}
            @click=${() => emit(this, 'choir-regenerate', message.id)}
          >
            ${icons.retry(18)}
          </button>`
        : nothing
    }${
      this.last && message.continuable
        ? this.wide('choir-continue', 'continue', 'Continue')
        : nothing
    }${
      this.last && failed
        ? this.wide('choir-regenerate', 'regenerate', 'Ask again')
        : nothing
    }`
  }

  private wide(event: string, mark: string, words: string): TemplateResult {
    return html`<button
      class="wide"
      data-testid=${mark}
      ?disabled=${!this.idle}
      @click=${() => emit(this, event, this.message?.id)}
    >
      ${words}
    </button>`
  }

  private versions(message: Message, ids: readonly string[]): TemplateResult {
    const at = ids.indexOf(message.id)
    const step = (to: number, words: string, icon: TemplateResult): TemplateResult =>
      html`<button
        class="icon"
        aria-label=${words}
        ?disabled=${!this.idle || ids[to] === undefined}
        @click=${() => emit(this, 'choir-choose', ids[to])}
      >
        ${icon}
      </button>`
    return html`<span class="versions numbers" role="group" aria-label="Versions">
      ${step(at - 1, 'Earlier version', icons.back())}
      <span>${at + 1} / ${ids.length}</span>
      ${step(at + 1, 'Later version', icons.forward())}
    </span>`
  }

  private copy(text: string): void {
    void copyText(text, 'The answer').then((copied) => {
      this.copied = copied
      setTimeout(() => (this.copied = false), COPIED_MS)
    })
  }
}
