/** One sentence about what just happened; can be put away. */
import {
  css,
  html,
  LitElement,
  nothing,
  type PropertyValues,
  type TemplateResult,
} from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { controls } from '../styles/controls.ts'
import { announce } from './announcer.ts'
import { icons } from './icons.ts'

@customElement('choir-notice')
export class ChoirNotice extends LitElement {
  @property() text = ''
  @state() private put = ''

  static override readonly styles = [
    controls,
    css`
      :host {
        display: block;
      }
      div {
        display: flex;
        align-items: center;
        gap: 4px;
        padding: 4px 4px 4px 16px;
        border-radius: var(--radius);
        background: var(--ink);
        color: var(--paper);
        font-size: 15px;
        line-height: 1.4;
      }
      p {
        flex: 1;
        min-width: 0;
        padding: 8px 0;
        overflow-wrap: anywhere;
      }
      button.icon {
        color: inherit;
      }
      @media (hover: hover) {
        button.icon:hover:enabled {
          background: transparent;
        }
      }
      :focus-visible {
        outline-color: var(--paper);
        outline-offset: -6px;
      }
    `,
  ]

  protected override willUpdate(changed: PropertyValues<this>): void {
    if (changed.has('text')) this.put = ''
  }

  protected override updated(changed: PropertyValues<this>): void {
    if (changed.has('text') && this.text) announce(this.text)
  }

  protected override render(): TemplateResult | typeof nothing {
    if (this.text === '' || this.put === this.text) return nothing
    return html`<div data-testid="notice">
      <p>${this.text}</p>
      <button class="icon" aria-label="Put away" @click=${() => (this.put = this.text)}>
        ${icons.close()}
      </button>
    </div>`
  }
}
