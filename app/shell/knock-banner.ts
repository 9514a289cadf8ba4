/** Somebody typed the six letters and waits at the door. */
import {
  css,
  html,
  LitElement,
  nothing,
  type PropertyValues,
  type TemplateResult,
} from 'lit'
import { customElement, property } from 'lit/decorators.js'
import type { Knock, RoomSession } from '../room/types.ts'
import { controls } from '../styles/controls.ts'
import { announce } from './announcer.ts'
import { digitGroups } from './format.ts'

/** Takes no focus; screen readers hear of it. */
@customElement('choir-knock')
export class ChoirKnock extends LitElement {
  @property({ attribute: false }) knocks: readonly Knock[] = []
  @property({ attribute: false }) session: RoomSession | undefined
  private told = ''

  static override readonly styles = [
    controls,
    css`
      :host {
        display: block;
      }
      section {
        display: grid;
        gap: 12px;
        padding: 16px;
        border-radius: var(--radius);
        background: var(--card);
        border: 2px solid var(--accent);
        box-shadow: var(--shadow);
        animation: in 0.25s ease-out;
      }
      @keyframes in {
        from {
          transform: translateY(-12px);
          opacity: 0;
        }
      }
      h2 {
        font-size: 18px;
      }
      .digits {
        font: 650 30px/1.1 var(--font-mono);
        letter-spacing: 0.08em;
      }
      .actions {
        display: grid;
        grid-template-columns: 1fr 1fr;
        gap: 12px;
      }
    `,
  ]

  protected override updated(changed: PropertyValues<this>): void {
    const [first] = this.knocks
    if (!changed.has('knocks') || !first || first.id === this.told) return
    this.told = first.id
    announce(
      `${first.name} wants to join. The other phone must show ${Array.from(first.digits).join(' ')}. Allow or deny.`,
    )
  }

  protected override render(): TemplateResult | typeof nothing {
    const [first] = this.knocks
    if (!first) return nothing
    return html`<section data-testid="knock" aria-label="Somebody wants to join">
      <div class="row">
        <div class="grow">
          <h2>${first.name} wants to join</h2>
          <p class="hint">Allow it only if that phone shows the same digits:</p>
        </div>
      </div>
      <p class="digits" data-testid="knock-digits">${digitGroups(first.digits)}</p>
      <div class="actions">
        <button data-testid="knock-deny" @click=${() => this.session?.deny(first.id)}>
          Deny
        </button>
        <button
          class="primary"
          data-testid="knock-allow"
          @click=${() => this.session?.admit(first.id)}
        >
          Allow
        </button>
      </div>
      ${
        this.knocks.length > 1
          ? html`<p class="hint">${this.knocks.length - 1} more waiting</p>`
          : nothing
      }
    </section>`
  }
}
