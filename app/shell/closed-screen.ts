/** The room is over, and what to do next. */
import { css, html, LitElement, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import { controls } from '../styles/controls.ts'
import { page } from '../styles/page.ts'
import { emit } from './emit.ts'
import { icons } from './icons.ts'

/** @fires choir-rejoin, choir-leave. */
@customElement('choir-closed-screen')
export class ChoirClosedScreen extends LitElement {
  @property() message = ''

  static override readonly styles = [
    controls,
    page,
    css`
      main {
        align-content: center;
      }
      .circle {
        display: grid;
        place-items: center;
        width: 72px;
        height: 72px;
        border-radius: 50%;
        background: var(--bad-soft);
        color: var(--bad);
      }
      .actions {
        display: grid;
        gap: 12px;
      }
    `,
  ]

  protected override render(): TemplateResult {
    return html`<main>
      <span class="circle">${icons.warn(32)}</span>
      <div class="stack">
        <h1 data-testid="room-status" data-status="closed">The room is closed</h1>
        <p role="alert">${this.message}</p>
        <p class="hint">
          Your chat is kept on this phone, under “Earlier chats” in the settings.
        </p>
      </div>
      <div class="actions">
        <button class="primary large" @click=${() => emit(this, 'choir-rejoin')}>
          Try to come back
        </button>
        <button class="large" @click=${() => emit(this, 'choir-leave')}>
          To the start
        </button>
      </div>
    </main>`
  }
}
