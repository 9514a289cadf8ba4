/** How much memory this phone gives to the room. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { bytes } from '../shell/format.ts'
import type { Preflight, Services } from '../shell/services.ts'
import { controls } from '../styles/controls.ts'
import type { SettingsStore } from './settings.ts'

const STEP = 50e6

@customElement('choir-lend-settings')
export class ChoirLendSettings extends LitElement {
  @property({ attribute: false }) settings: SettingsStore | undefined
  @property({ attribute: false }) services: Services | undefined
  @state() private preflight: Preflight | null = null
  /** While the slider is being moved. */
  @state() private moving: number | null = null

  static override readonly styles = [
    controls,
    css`
      :host {
        display: grid;
        gap: 4px;
      }
      .line {
        display: flex;
        justify-content: space-between;
        align-items: baseline;
      }
      output {
        font-weight: 550;
      }
    `,
  ]

  override connectedCallback(): void {
    super.connectedCallback()
    this.look()
  }

  protected override render(): TemplateResult | typeof nothing {
    const { settings, preflight } = this
    if (!settings || !preflight) return nothing
    const most = Math.max(STEP, Math.floor(preflight.memoryBytes / STEP) * STEP)
    const chosen = Math.min(most, this.moving ?? settings.value.memoryBudget ?? most)
    return html`<div class="line">
        <h3><label for="memory">Memory to lend</label></h3>
        <output class="numbers" for="memory">${bytes(chosen)}</output>
      </div>
      <input
        id="memory"
        data-testid="memory-slider"
        type="range"
        min="0"
        max=${most}
        step=${STEP}
        .value=${String(chosen)}
        aria-valuetext=${bytes(chosen)}
        @input=${(event: Event) => (this.moving = numberOf(event))}
        @change=${(event: Event) => {
          this.moving = null
          const value = numberOf(event)
          settings.update({ memoryBudget: value >= most ? null : value })
          this.requestUpdate()
        }}
      />
      <p class="hint">
        ${preflight.halved ? 'Less is offered as loading a model made the browser close this page.' : nothing}
        The more phones lend, the larger the model may be. Too much can make the browser
        close this page. At 0 this phone only asks.
      </p>
      ${
        preflight.halved
          ? html`<button
              class="button"
              data-testid="lend-all-again"
              @click=${() => {
                this.services?.forgetCrashes()
                this.look()
              }}
            >
              Offer all of it again
            </button>`
          : nothing
      }`
  }

  private look(): void {
    this.services?.preflight().then(
      (preflight) => (this.preflight = preflight),
      () => undefined,
    )
  }
}

function numberOf(event: Event): number {
  return event.target instanceof HTMLInputElement ? event.target.valueAsNumber : 0
}
