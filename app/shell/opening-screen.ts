/** On the way into a room. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import '../devices/ring.ts'
import { controls } from '../styles/controls.ts'
import { page } from '../styles/page.ts'
import { emit } from './emit.ts'
import { digitGroups } from './format.ts'

const ARCS = [0, 1, 2].map((voice) => ({
  colour: `var(--voice-${voice})`,
  share: 1,
  done: 0,
}))

/** @fires choir-cancel. */
@customElement('choir-opening-screen')
export class ChoirOpeningScreen extends LitElement {
  @property() words = ''
  /** Six digits while knocking. */
  @property() digits = ''

  static override readonly styles = [
    controls,
    page,
    css`
      main {
        align-content: center;
        justify-items: center;
        text-align: center;
      }
      choir-ring {
        width: 132px;
      }
      .digits {
        font: 650 40px/1.1 var(--font-mono);
        letter-spacing: 0.06em;
      }
      .stack {
        gap: 10px;
      }
    `,
  ]

  protected override render(): TemplateResult {
    return html`<main>
      <choir-ring running .arcs=${ARCS}></choir-ring>
      <div class="stack" role="status">
        <h1>${this.words}</h1>
        ${
          this.digits
            ? html`<p>Somebody in the room now sees these digits and can let you in.</p>
                <p class="digits" data-testid="knock-digits">
                  ${digitGroups(this.digits)}
                </p>`
            : nothing
        }
      </div>
      <button @click=${() => emit(this, 'choir-cancel')}>Cancel</button>
    </main>`
  }
}
