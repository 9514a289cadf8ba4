/** Where questions are written. */
import { css, html, LitElement, type TemplateResult } from 'lit'
import { customElement, property, query, state } from 'lit/decorators.js'
import { emit } from '../shell/emit.ts'
import { icons } from '../shell/icons.ts'
import { controls } from '../styles/controls.ts'

/** Longest question, characters. */
const LONGEST = 20_000

/** @fires choir-ask with the text, choir-stop. */
@customElement('choir-composer')
export class ChoirComposer extends LitElement {
  /** An answer of this phone is on its way. */
  @property({ type: Boolean }) answering = false
  @state() private empty = true
  @query('textarea') private readonly field: HTMLTextAreaElement | undefined

  static override readonly styles = [
    controls,
    css`
      :host {
        display: block;
        padding: 8px var(--edge-right) calc(12px + var(--edge-bottom)) var(--edge-left);
        background: var(--paper);
      }
      form {
        display: flex;
        align-items: end;
        gap: 6px;
        max-width: calc(var(--column) - 40px);
        margin: 0 auto;
        padding: 5px;
        border: 1px solid var(--edge);
        border-radius: 28px;
        background: var(--card);
      }
      form:focus-within {
        border-color: var(--accent);
        box-shadow: 0 0 0 1px var(--accent);
      }
      textarea {
        flex: 1;
        min-width: 0;
        min-height: var(--touch);
        max-height: 38dvh;
        padding: 9px 6px 9px 15px;
        border: 0;
        background: transparent;
        line-height: 26px;
        resize: none;
        field-sizing: content;
        outline: none;
        overscroll-behavior: contain;
      }
      button.icon {
        flex: none;
        background: var(--accent);
        color: var(--on-accent);
      }
      button.icon[aria-disabled='true'] {
        background: var(--quiet);
        color: var(--ink-soft);
      }
      button.icon.stop {
        background: var(--ink);
        color: var(--paper);
      }
      @media (hover: hover) {
        button.icon[aria-disabled='false']:hover {
          background: var(--accent-press);
        }
        button.icon.stop[aria-disabled]:hover {
          background: var(--ink-soft);
        }
      }
    `,
  ]

  override focus(): void {
    this.field?.focus()
  }

  /** Puts a text into the field, ready to be changed. */
  fill(text: string): void {
    if (!this.field) return
    this.field.value = text
    this.input()
    this.field.focus()
  }

  protected override render(): TemplateResult {
    return html`<form @submit=${(event: Event) => this.submit(event)}>
      <label class="visually-hidden" for="ask">Your question</label>
      <textarea
        id="ask"
        data-testid="ask-input"
        rows="1"
        maxlength=${LONGEST}
        placeholder="Ask the room …"
        enterkeyhint="send"
        autocomplete="off"
        @input=${() => this.input()}
        @keydown=${(event: KeyboardEvent) => this.key(event)}
      ></textarea>
      <button
        class="icon ${this.answering ? 'stop' : ''}"
        data-testid=${this.answering ? 'stop' : 'ask-send'}
        aria-label=${this.answering ? 'Stop the answer' : 'Send'}
        aria-disabled=${!this.answering && this.empty}
      >
        ${this.answering ? icons.stop() : icons.send()}
      </button>
    </form>`
  }

  private input(): void {
    const { field } = this
    if (!field) return
    this.empty = field.value.trim() === ''
    if (CSS.supports('field-sizing', 'content')) return
    field.style.height = 'auto'
    field.style.height = `${field.scrollHeight}px`
  }

  private key(event: KeyboardEvent): void {
    // While a word is being composed, Enter belongs to the keyboard.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
    event.preventDefault()
    this.send()
  }

  /** The button stays one element, so that a keyboard's focus is never lost. */
  private submit(event: Event): void {
    event.preventDefault()
    if (this.answering) emit(this, 'choir-stop')
    else this.send()
  }

  private send(): void {
    const text = this.field?.value.trim() ?? ''
    if (text === '' || this.answering || !this.field) return
    this.field.value = ''
    this.input()
    emit(this, 'choir-ask', text)
  }
}
