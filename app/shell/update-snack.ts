/** A newer Choir is here: offered, never forced. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, state } from 'lit/decorators.js'
import { controls } from '../styles/controls.ts'
import { announce } from './announcer.ts'
import { emit } from './emit.ts'

/** @fires choir-apply-update. */
@customElement('choir-update')
export class ChoirUpdate extends LitElement {
  @state() private offered = false

  static override readonly styles = [
    controls,
    css`
      :host {
        position: fixed;
        z-index: 5;
        left: 12px;
        right: 12px;
        bottom: calc(96px + var(--edge-bottom));
        max-width: 480px;
        margin: 0 auto;
        pointer-events: none;
      }
      div {
        display: flex;
        align-items: center;
        gap: 4px;
        padding: 6px 6px 6px 16px;
        border-radius: var(--radius);
        background: var(--card);
        border: 1px solid var(--line);
        box-shadow: var(--shadow);
        font-size: 15px;
        pointer-events: auto;
      }
      p {
        flex: 1;
      }
      button {
        padding: 8px 14px;
      }
    `,
  ]

  override connectedCallback(): void {
    super.connectedCallback()
    addEventListener('choir-update', this.offer)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    removeEventListener('choir-update', this.offer)
  }

  private readonly offer = (): void => {
    this.offered = true
    announce('A newer version of Choir is ready.')
  }

  protected override render(): TemplateResult | typeof nothing {
    if (!this.offered) return nothing
    return html`<div role="region" aria-label="Update">
      <p>A newer Choir is ready.</p>
      <button class="outline" @click=${() => (this.offered = false)}>Later</button>
      <button
        class="primary"
        data-testid="update-reload"
        @click=${() => emit(this, 'choir-apply-update')}
      >
        Reload
      </button>
    </div>`
  }
}
