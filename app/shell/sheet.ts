/** A panel over the page: slides up on phones, stands in the middle on large screens. */
import { css, html, LitElement, type PropertyValues, type TemplateResult } from 'lit'
import { customElement, property, query } from 'lit/decorators.js'
import { controls } from '../styles/controls.ts'
import { announceIn } from './announcer.ts'
import { emit } from './emit.ts'
import { icons } from './icons.ts'

/** @fires choir-close when the person closes it. */
@customElement('choir-sheet')
export class ChoirSheet extends LitElement {
  @property() heading = ''
  @property({ type: Boolean }) open = false
  @query('dialog') private readonly dialog: HTMLDialogElement | undefined

  static override readonly styles = [
    controls,
    css`
      dialog {
        width: 100%;
        max-width: 560px;
        max-height: min(92dvh, calc(100dvh - var(--edge-top) - 24px));
        margin: auto auto 0;
        padding: 0;
        border: 0;
        border-top: 1px solid var(--line);
        border-radius: 24px 24px 0 0;
        background: var(--paper);
        color: var(--ink);
        overflow: hidden;
        box-shadow: 0 -8px 40px rgb(0 0 0 / 0.18);
        transform: translateY(24px);
        opacity: 0;
        transition:
          transform 0.28s cubic-bezier(0.2, 0.9, 0.3, 1),
          opacity 0.2s,
          overlay 0.28s allow-discrete,
          display 0.28s allow-discrete;
      }
      dialog[open] {
        display: flex;
        flex-direction: column;
        transform: none;
        opacity: 1;
      }
      @starting-style {
        dialog[open] {
          transform: translateY(48px);
          opacity: 0;
        }
      }
      dialog::backdrop {
        background: var(--shade);
      }
      .head {
        display: flex;
        align-items: center;
        justify-content: space-between;
        padding: 14px 10px 8px 20px;
      }
      h2 {
        font-size: 22px;
        border-radius: 6px;
      }
      h2:focus {
        outline: none;
      }
      .body {
        flex: 1;
        overflow-y: auto;
        overscroll-behavior: contain;
        padding: 4px var(--edge-right) calc(24px + var(--edge-bottom)) var(--edge-left);
      }
      @media (min-width: 700px) {
        dialog {
          margin: auto;
          border-radius: 24px;
        }
      }
    `,
  ]

  protected override updated(changed: PropertyValues<this>): void {
    const { dialog } = this
    if (!changed.has('open') || !dialog) return
    if (this.open && !dialog.open) {
      dialog.showModal()
      announceIn(dialog)
    } else if (!this.open && dialog.open) dialog.close()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    announceIn(document.body)
  }

  protected override render(): TemplateResult {
    return html`<dialog
      aria-labelledby="heading"
      @close=${() => this.closed()}
      @click=${(event: Event) => {
        if (event.target === this.dialog) this.dialog.close()
      }}
    >
      <div class="head">
        <h2 id="heading" tabindex="-1" autofocus>${this.heading}</h2>
        <button class="icon" aria-label="Close" @click=${() => this.dialog?.close()}>
          ${icons.close()}
        </button>
      </div>
      <div class="body" tabindex="-1"><slot></slot></div>
    </dialog>`
  }

  private closed(): void {
    announceIn(document.body)
    if (this.open) emit(this, 'choir-close')
  }
}
