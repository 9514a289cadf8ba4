/** One phone of the room: who, which layers, how it fares. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { styleMap } from 'lit/directives/style-map.js'
import type { DeviceView } from '../room/types.ts'
import { NAME_LENGTH } from '../settings/settings.ts'
import { emit } from '../shell/emit.ts'
import { bytes } from '../shell/format.ts'
import { icons } from '../shell/icons.ts'
import { controls } from '../styles/controls.ts'
import './avatar.ts'
import './layer-bar.ts'
import { deviceFraction } from './progress.ts'
import type { Voices } from './voices.ts'
import { engineWords, stateWords } from './words.ts'

/** @fires choir-rename with the new name. */
@customElement('choir-device-row')
export class ChoirDeviceRow extends LitElement {
  @property({ attribute: false }) device: DeviceView | undefined
  @property({ attribute: false }) devices: readonly DeviceView[] = []
  @property({ attribute: false }) voices: Voices | undefined
  @property({ type: Number }) layers = 0
  @state() private renaming = false

  static override readonly styles = [
    controls,
    css`
      :host {
        display: block;
        padding: 16px;
        border-radius: var(--radius);
        background: var(--card);
        box-shadow: var(--shadow);
      }
      .name {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 2px 8px;
        font-weight: 650;
        line-height: 1.3;
      }
      .name span:first-child {
        overflow: hidden;
        text-overflow: ellipsis;
      }
      .tag {
        flex: none;
        padding: 2px 9px;
        border-radius: 99px;
        background: var(--quiet);
        color: var(--ink);
        font-size: 13px;
        font-weight: 550;
      }
      .own {
        background: var(--accent-soft);
        color: var(--on-accent-soft);
      }
      .warn {
        background: var(--warn-soft);
        color: var(--warn);
      }
      .state {
        font-size: 15px;
        line-height: 1.35;
        color: var(--ink-soft);
      }
      .state.failed {
        color: var(--bad);
      }
      .meter {
        height: 4px;
        margin-top: 8px;
        border-radius: 2px;
        background: var(--sunken);
        overflow: hidden;
      }
      .meter i {
        display: block;
        height: 100%;
        border-radius: 2px;
        transition: width 0.3s;
      }
      choir-layer-bar {
        margin: 14px 0 12px;
      }
      dl {
        display: grid;
        grid-template-columns: 1fr 1fr;
        gap: 8px 16px;
        font-size: 15px;
        line-height: 1.3;
      }
      dt {
        color: var(--ink-soft);
        font-size: 13px;
      }
      dd {
        font-variant-numeric: tabular-nums;
      }
      form {
        display: flex;
        gap: 8px;
      }
      form button {
        flex: none;
      }
    `,
  ]

  protected override render(): TemplateResult | typeof nothing {
    const { device } = this
    if (!device) return nothing
    const colour = this.voices?.of(device.id) ?? 'var(--accent)'
    const busy = device.state.kind === 'fetching' || device.state.kind === 'loading'
    return html`<div class="row">
        <choir-avatar .name=${device.name} .colour=${colour}></choir-avatar>
        <div class="grow">
          ${this.renaming ? this.renameForm(device) : this.nameLine(device)}
          <p class="state ${device.state.kind} numbers">${stateWords(device)}</p>
        </div>
        ${
          device.self && !this.renaming
            ? html`<button
                class="icon"
                aria-label="Change the name of this phone"
                @click=${() => (this.renaming = true)}
              >
                ${icons.edit()}
              </button>`
            : nothing
        }
      </div>
      ${
        busy
          ? html`<div class="meter">
              <i
                style=${styleMap({
                  width: `${deviceFraction(device) * 100}%`,
                  background: colour,
                })}
              ></i>
            </div>`
          : nothing
      }
      <choir-layer-bar
        aria-hidden="true"
        .devices=${this.devices}
        .voices=${this.voices}
        .layers=${this.layers}
        .only=${device.id}
      ></choir-layer-bar>
      ${device.leftOut ? html`<p class="state">${device.leftOut}</p>` : nothing}
      <dl>
        ${fact('Memory', `${bytes(device.memoryUsed)} of ${bytes(device.memoryBudget)}`)}
        ${fact('Computes with', engineWords(device.engine))}
      </dl>`
  }

  private nameLine(device: DeviceView): TemplateResult {
    return html`<p class="name">
      <span>${device.name}</span>${
        device.self ? html`<span class="tag own">this phone</span>` : nothing
      }${
        device.coordinator ? html`<span class="tag">leads</span>` : nothing
      }${device.visible ? nothing : html`<span class="tag warn">in the background</span>`}${
        device.battery && !device.battery.charging && device.battery.level < 0.2
          ? html`<span class="tag warn"
              >battery ${Math.round(device.battery.level * 100)} %</span
            >`
          : nothing
      }
    </p>`
  }

  private renameForm(device: DeviceView): TemplateResult {
    return html`<form @submit=${(event: SubmitEvent) => this.rename(event)}>
      <label class="visually-hidden" for="name">Name of this phone</label>
      <input
        id="name"
        name="name"
        maxlength=${NAME_LENGTH}
        autocomplete="off"
        .value=${device.name}
        @keydown=${(event: KeyboardEvent) => {
          if (event.key !== 'Escape') return
          // Only the field closes, not the sheet around it.
          event.preventDefault()
          event.stopPropagation()
          this.renaming = false
        }}
      />
      <button class="soft">Save</button>
    </form>`
  }

  protected override updated(): void {
    if (!this.renaming) return
    const input = this.renderRoot.querySelector('input')
    if (input && !this.renderRoot.querySelector(':focus')) input.select()
  }

  private rename(event: SubmitEvent): void {
    event.preventDefault()
    const name = this.renderRoot.querySelector('input')?.value.trim() ?? ''
    this.renaming = false
    if (name) emit(this, 'choir-rename', name)
  }
}

function fact(name: string, value: string): TemplateResult {
  return html`<div>
    <dt>${name}</dt>
    <dd>${value}</dd>
  </div>`
}
