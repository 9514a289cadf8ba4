/** A phone as a round picture with its initials. Decorative: the name stands beside it. */
import { css, html, LitElement, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import { styleMap } from 'lit/directives/style-map.js'
import { initials } from '../shell/format.ts'

@customElement('choir-avatar')
export class ChoirAvatar extends LitElement {
  @property() name = ''
  @property() colour = 'var(--accent)'
  /** One letter only. */
  @property({ type: Boolean }) brief = false

  static override readonly styles = css`
    :host {
      display: block;
      flex: none;
      width: var(--avatar, 40px);
      height: var(--avatar, 40px);
    }
    span {
      display: grid;
      place-items: center;
      width: 100%;
      height: 100%;
      border-radius: 50%;
      background: color-mix(in oklab, var(--own) 16%, var(--card));
      box-shadow: inset 0 0 0 2px var(--own);
      color: var(--ink);
      font: 650 calc(var(--avatar, 40px) * 0.36) / 1 var(--font);
    }
  `

  protected override render(): TemplateResult {
    return html`<span aria-hidden="true" style=${styleMap({ '--own': this.colour })}
      >${initials(this.name, this.brief ? 1 : 2)}</span
    >`
  }
}
