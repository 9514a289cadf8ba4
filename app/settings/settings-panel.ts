/** All that can be chosen on this device. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import { emit } from '../shell/emit.ts'
import { icons } from '../shell/icons.ts'
import '../shell/install-hint.ts'
import type { Services } from '../shell/services.ts'
import { controls } from '../styles/controls.ts'
import './about.ts'
import './answer-settings.ts'
import './lend-settings.ts'
import './storage-settings.ts'
import type { SettingsStore, Theme } from './settings.ts'

const THEMES: readonly (readonly [Theme, string])[] = [
  ['system', 'Automatic'],
  ['light', 'Light'],
  ['dark', 'Dark'],
]

/** @fires choir-open-history, choir-leave. */
@customElement('choir-settings')
export class ChoirSettings extends LitElement {
  @property({ attribute: false }) settings: SettingsStore | undefined
  @property({ attribute: false }) services: Services | undefined
  /** Offers to leave. */
  @property({ type: Boolean }) inRoom = false

  static override readonly styles = [
    controls,
    css`
      :host {
        display: grid;
        gap: 28px;
      }
      section {
        display: grid;
        gap: 12px;
      }
      .theme {
        display: grid;
        grid-auto-flow: column;
        grid-auto-columns: 1fr;
        margin: 0;
        padding: 4px;
        border: 0;
        border-radius: 999px;
        background: var(--sunken);
      }
      .theme label {
        position: relative;
        display: grid;
        place-items: center;
        min-height: var(--touch);
        padding: 4px 8px;
        border-radius: 999px;
        font-size: 15px;
        text-align: center;
        cursor: pointer;
      }
      .theme input {
        position: absolute;
        inset: 0;
        margin: 0;
        opacity: 0;
        cursor: pointer;
      }
      .theme label:has(:checked) {
        background: var(--card);
        box-shadow: 0 1px 4px rgb(0 0 0 / 0.14);
      }
      .theme label:has(:focus-visible) {
        outline: 3px solid var(--accent);
      }
      .wide {
        justify-content: space-between;
        width: 100%;
        min-height: 52px;
        border-radius: var(--radius);
        background: var(--card);
        box-shadow: var(--shadow);
      }
    `,
  ]

  override connectedCallback(): void {
    super.connectedCallback()
    this.settings?.addEventListener('change', this.changed)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.settings?.removeEventListener('change', this.changed)
  }

  private readonly changed = (): void => this.requestUpdate()

  protected override render(): TemplateResult | typeof nothing {
    const { settings, services } = this
    if (!settings || !services) return nothing
    return html`<button class="wide" @click=${() => emit(this, 'choir-open-history')}>
        <span class="row">${icons.history()}Earlier chats</span>${icons.forward()}
      </button>
      <choir-lend-settings
        .settings=${settings}
        .services=${services}
      ></choir-lend-settings>
      <choir-answer-settings
        .settings=${settings}
        .value=${settings.value}
      ></choir-answer-settings>
      <section>
        <h3 id="theme">Appearance</h3>
        <fieldset class="theme" aria-labelledby="theme">
          ${THEMES.map(
            ([theme, words]) =>
              html`<label
                ><input
                  type="radio"
                  name="theme"
                  .checked=${settings.value.theme === theme}
                  @change=${() => settings.update({ theme })}
                />${words}</label
              >`,
          )}
        </fieldset>
      </section>
      <choir-storage-settings .services=${services}></choir-storage-settings>
      <choir-install-hint></choir-install-hint>
      <choir-about></choir-about>
      ${
        this.inRoom
          ? html`<button
              class="bad large"
              data-testid="leave-room"
              @click=${() => emit(this, 'choir-leave')}
            >
              Leave the room
            </button>`
          : nothing
      }`
  }
}
