/** How to put Choir on the home screen, where the browser lets one. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement } from 'lit/decorators.js'
import { controls } from '../styles/controls.ts'
import { icons } from './icons.ts'
import { installOffer, isInstalled } from './install.ts'
import { isIos } from './preflight.ts'

@customElement('choir-install-hint')
export class ChoirInstallHint extends LitElement {
  static override readonly styles = [
    controls,
    css`
      :host {
        display: block;
      }
      p {
        display: flex;
        gap: 12px;
        align-items: start;
        color: var(--ink-soft);
        font-size: 15px;
        line-height: 1.45;
      }
      button {
        width: 100%;
      }
    `,
  ]

  override connectedCallback(): void {
    super.connectedCallback()
    installOffer.addEventListener('change', this.changed)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    installOffer.removeEventListener('change', this.changed)
  }

  private readonly changed = (): void => this.requestUpdate()

  protected override render(): TemplateResult | typeof nothing {
    if (installOffer.available)
      return html`<button
        class="outline"
        data-testid="install"
        @click=${() => void installOffer.accept()}
      >
        ${icons.phone()}Install Choir
      </button>`
    if (isInstalled() || !isIos(navigator.userAgent, navigator.maxTouchPoints))
      return nothing
    return html`<p>
      ${icons.share(22)}<span
        >Share, then “Add to Home Screen” keeps Choir and its model on this phone.</span
      >
    </p>`
  }
}
