/** All phones of the room and the model that they run together. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import { repeat } from 'lit/directives/repeat.js'
import type { RoomView } from '../room/types.ts'
import '../models/model-card.ts'
import { controls } from '../styles/controls.ts'
import './device-row.ts'
import type { Voices } from './voices.ts'

@customElement('choir-device-list')
export class ChoirDeviceList extends LitElement {
  @property({ attribute: false }) view: RoomView | undefined
  @property({ attribute: false }) voices: Voices | undefined

  static override readonly styles = [
    controls,
    css`
      :host {
        display: grid;
        gap: 12px;
      }
      ul {
        display: grid;
        gap: 12px;
      }
    `,
  ]

  protected override render(): TemplateResult | typeof nothing {
    const { view } = this
    if (!view) return nothing
    const layers = view.model?.layers ?? 0
    return html`<choir-model-card .view=${view} .voices=${this.voices}></choir-model-card>
      <ul>
        ${repeat(
          view.devices,
          ({ id }) => id,
          (device) =>
            html`<li>
              <choir-device-row
                data-testid="device-row"
                data-device-id=${device.id}
                data-state=${device.state.kind}
                data-from=${device.span?.from ?? nothing}
                data-to=${device.span?.to ?? nothing}
                .device=${device}
                .devices=${view.devices}
                .voices=${this.voices}
                .layers=${layers}
              ></choir-device-row>
            </li>`,
        )}
      </ul>`
  }
}
