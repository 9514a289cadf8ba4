/** Before the first question: the room as a ring, and something to start with. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import { arcsOf } from '../devices/arcs.ts'
import { roomProgress } from '../devices/progress.ts'
import '../devices/ring.ts'
import type { Voices } from '../devices/voices.ts'
import type { RoomView } from '../room/types.ts'
import { emit } from '../shell/emit.ts'
import { count, percent, shortage } from '../shell/format.ts'
import { icons } from '../shell/icons.ts'
import { controls } from '../styles/controls.ts'

export const EXAMPLES = [
  'Why is the sky blue?',
  'Tell me a short story about a lighthouse.',
  'Give me three ideas for a rainy afternoon.',
] as const

/** @fires choir-ask with an example, choir-invite. */
@customElement('choir-empty-chat')
export class ChoirEmptyChat extends LitElement {
  @property({ attribute: false }) view: RoomView | undefined
  @property({ attribute: false }) voices: Voices | undefined

  static override readonly styles = [
    controls,
    css`
      :host {
        display: block;
        min-height: 0;
        overflow-y: auto;
        overscroll-behavior: contain;
      }
      .column {
        display: grid;
        align-content: center;
        justify-items: center;
        gap: 20px;
        min-height: 100%;
        max-width: 480px;
        margin: 0 auto;
        padding: 20px var(--edge-right) 20px var(--edge-left);
        text-align: center;
      }
      choir-ring {
        width: min(52%, 26dvh, 210px);
      }
      .big {
        font-size: 30px;
        font-weight: 680;
        letter-spacing: -0.02em;
        line-height: 1.1;
      }
      .small {
        display: block;
        font-size: 15px;
        font-weight: 450;
        letter-spacing: 0;
        color: var(--ink-soft);
      }
      h2 {
        font-size: 22px;
      }
      .words {
        text-wrap: balance;
        display: grid;
        gap: 6px;
      }
      ul {
        display: grid;
        gap: 10px;
        width: 100%;
      }
      li button {
        width: 100%;
        justify-content: space-between;
        min-height: 52px;
        padding: 10px 16px 10px 18px;
        border-radius: var(--radius);
        background: var(--card);
        box-shadow: var(--shadow);
        font-weight: 450;
        text-align: left;
      }
      li svg {
        color: var(--ink-soft);
      }
    `,
  ]

  protected override render(): TemplateResult | typeof nothing {
    const { view, voices } = this
    if (!view || !voices) return nothing
    return html`<div class="column">
      <choir-ring .arcs=${arcsOf(view.devices, voices)}>${this.middle(view)}</choir-ring>
      <div class="words">${this.words(view)}</div>
      ${
        view.status.kind === 'short'
          ? html`<button class="primary" @click=${() => emit(this, 'choir-invite')}>
              ${icons.invite()}Invite a phone
            </button>`
          : html`<ul aria-label="Examples">
              ${EXAMPLES.map(
                (text) =>
                  html`<li>
                    <button @click=${() => emit(this, 'choir-ask', text)}>
                      ${text}${icons.forward()}
                    </button>
                  </li>`,
              )}
            </ul>`
      }
    </div>`
  }

  private middle({ status, devices }: RoomView): TemplateResult | typeof nothing {
    const progress = status.kind === 'preparing' ? roomProgress(devices) : null
    if (progress)
      return html`<span class="big numbers"
        >${percent(progress.done, progress.total)} %</span
      >`
    if (devices.length === 0) return nothing
    const [number, word] = count(devices.length, 'phone', 'phones').split('\u00a0')
    return html`<span class="big">${number}<span class="small">${word}</span></span>`
  }

  private words({ status, model, devices }: RoomView): TemplateResult {
    const name = model?.name ?? 'the model'
    switch (status.kind) {
      case 'short':
        return html`<h2>One more phone, please</h2>
          <p class="hint">
            ${name} needs ${shortage(status.missingBytes)} more memory than
            ${devices.length > 1 ? 'these phones lend' : 'this phone lends'}.
          </p>`
      case 'ready':
        return html`<h2>What shall we ask?</h2>
          <p class="hint">
            ${
              devices.length > 1
                ? `These phones now run ${name} together.`
                : `This phone runs ${name} alone. Invite others to share the work.`
            }
          </p>`
      case 'preparing':
        return html`<h2>Getting ready</h2>
          <p class="hint">
            Each phone takes its part of ${name}. You can ask already; keep this page
            open.
          </p>`
      default:
        return html`<h2>Looking for the others</h2>
          <p class="hint">You can ask already; the question waits.</p>`
    }
  }
}
