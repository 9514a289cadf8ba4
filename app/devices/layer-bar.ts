/** All layers of the model from first to last, coloured by the phone that runs them. */
import { css, html, LitElement, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import { styleMap } from 'lit/directives/style-map.js'
import type { DeviceView } from '../room/types.ts'
import { Voices } from './voices.ts'

@customElement('choir-layer-bar')
export class ChoirLayerBar extends LitElement {
  @property({ attribute: false }) devices: readonly DeviceView[] = []
  @property({ attribute: false }) voices = new Voices()
  @property({ type: Number }) layers = 0
  /** Only this phone's part in colour; all parts when empty. */
  @property() only = ''

  static override readonly styles = css`
    :host {
      display: block;
      position: relative;
      height: 10px;
      border-radius: 5px;
      background: var(--sunken);
      overflow: hidden;
    }
    i {
      position: absolute;
      top: 0;
      bottom: 0;
      transition:
        left 0.4s,
        width 0.4s;
    }
    i:not(:last-child) {
      box-shadow: inset -2px 0 0 var(--gap-colour, var(--card));
    }
    @media (prefers-reduced-motion: reduce) {
      i {
        transition: none;
      }
    }
  `

  protected override render(): TemplateResult {
    const parts = this.devices
      .flatMap(({ id, span }) =>
        span && span.to > span.from && this.layers > 0 && (!this.only || this.only === id)
          ? [
              {
                id,
                left: span.from / this.layers,
                width: (span.to - span.from) / this.layers,
              },
            ]
          : [],
      )
      .sort((a, b) => a.left - b.left)
    return html`${parts.map(
      ({ id, left, width }) =>
        html`<i
          style=${styleMap({
            left: `${left * 100}%`,
            width: `${width * 100}%`,
            background: this.voices.of(id),
          })}
        ></i>`,
    )}`
  }
}
