/** A question being put in other words. */
import { css, html, LitElement, type TemplateResult } from 'lit'
import { customElement, property, query } from 'lit/decorators.js'
import { emit } from '../shell/emit.ts'
import { controls } from '../styles/controls.ts'

/** @fires choir-ask with the text, choir-cancel. */
@customElement('choir-question-form')
export class ChoirQuestionForm extends LitElement {
  @property() text = ''
  @query('textarea') private readonly field: HTMLTextAreaElement | undefined

  static override readonly styles = [
    controls,
    css`
      form {
        display: grid;
        gap: 8px;
      }
      textarea {
        max-height: 40dvh;
        border-radius: var(--radius);
        line-height: 1.5;
        field-sizing: content;
        resize: none;
      }
      .actions {
        display: flex;
        justify-content: flex-end;
        gap: 8px;
      }
    `,
  ]

  protected override firstUpdated(): void {
    const { field } = this
    if (!field) return
    field.focus()
    field.setSelectionRange(field.value.length, field.value.length)
  }

  protected override render(): TemplateResult {
    return html`<form
      @submit=${(event: Event) => {
        event.preventDefault()
        const text = this.field?.value.trim() ?? ''
        if (text) emit(this, 'choir-ask', text)
      }}
      @keydown=${(event: KeyboardEvent) => {
        if (event.key === 'Escape') emit(this, 'choir-cancel')
      }}
    >
      <label class="visually-hidden" for="question">Your question in other words</label>
      <textarea
        id="question"
        data-testid="question-text"
        rows="2"
        .value=${this.text}
      ></textarea>
      <div class="actions">
        <button type="button" @click=${() => emit(this, 'choir-cancel')}>Cancel</button>
        <button class="primary" data-testid="question-ask">Ask</button>
      </div>
    </form>`
  }
}
