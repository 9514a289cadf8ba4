/** The model of the room: how large, and who runs which part. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import '../devices/layer-bar.ts'
import type { Voices } from '../devices/voices.ts'
import type { RoomView } from '../room/types.ts'
import { bytes, count } from '../shell/format.ts'
import { controls } from '../styles/controls.ts'
import { fitWords } from './fit.ts'

@customElement('choir-model-card')
export class ChoirModelCard extends LitElement {
  @property({ attribute: false }) view: RoomView | undefined
  @property({ attribute: false }) voices: Voices | undefined

  static override readonly styles = [
    controls,
    css`
      :host {
        display: block;
        padding: 4px 0 8px;
      }
      choir-layer-bar {
        --gap-colour: var(--paper);
        height: 16px;
        border-radius: 8px;
        margin: 12px 0 10px;
      }
    `,
  ]

  protected override render(): TemplateResult | typeof nothing {
    const { view } = this
    if (!view) return nothing
    if (!view.model) return html`<p class="hint">The model is not chosen yet.</p>`
    const { name, layers, bytes: size } = view.model
    return html`<h3>${name}</h3>
      <p class="hint numbers">${count(layers, 'layer', 'layers')} · ${bytes(size)}</p>
      <choir-layer-bar
        aria-hidden="true"
        .devices=${view.devices}
        .voices=${this.voices}
        .layers=${layers}
      ></choir-layer-bar>
      <p class="hint numbers">${fitWords(view)}</p>`
  }
}
