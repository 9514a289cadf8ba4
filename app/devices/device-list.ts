/** The room's ring, live: who runs what, how fast, over which links, and what moved. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import { repeat } from 'lit/directives/repeat.js'
import type { DeviceView, RoomView } from '../room/types.ts'
import { milliseconds } from '../shell/format.ts'
import '../models/model-card.ts'
import { controls } from '../styles/controls.ts'
import { arcsOf } from './arcs.ts'
import './device-row.ts'
import './ring.ts'
import './room-history.ts'
import type { RoomSample } from './room-log.ts'
import { isSinging, ringOf } from './stages.ts'
import type { Voices } from './voices.ts'

@customElement('choir-device-list')
export class ChoirDeviceList extends LitElement {
  @property({ attribute: false }) view: RoomView | undefined
  @property({ attribute: false }) voices: Voices | undefined
  @property({ attribute: false }) samples: readonly RoomSample[] = []

  static override readonly styles = [
    controls,
    css`
      :host {
        display: grid;
        gap: 12px;
      }
      ol,
      ul {
        display: grid;
        gap: 8px;
        list-style: none;
      }
      .lap {
        display: grid;
        justify-items: center;
        gap: 10px;
        text-align: center;
      }
      choir-ring {
        width: 168px;
      }
      .big {
        font-size: 24px;
        font-weight: 680;
        letter-spacing: -0.02em;
        line-height: 1.15;
      }
      .small {
        display: block;
        font-size: 14px;
        font-weight: 450;
        letter-spacing: 0;
        color: var(--ink-soft);
      }
      .link {
        display: flex;
        align-items: center;
        gap: 8px;
        padding: 8px 0 0 30px;
        color: var(--ink-soft);
        font-size: 14px;
      }
      .link::before {
        content: '';
        width: 12px;
        height: 12px;
        border: solid currentColor;
        border-width: 0 2px 2px 0;
        transform: translateY(-3px) rotate(45deg) scale(0.7);
      }
      .link.travelling::before {
        animation: travel 1.2s ease-in-out infinite;
      }
      @keyframes travel {
        from {
          transform: translateY(-9px) rotate(45deg) scale(0.7);
          opacity: 0;
        }
        40% {
          opacity: 1;
        }
        to {
          transform: translateY(2px) rotate(45deg) scale(0.7);
          opacity: 0;
        }
      }
      .legend {
        max-width: 30em;
      }
      choir-room-history {
        margin-top: 16px;
      }
      @media (prefers-reduced-motion: reduce) {
        .link.travelling::before {
          animation: none;
        }
      }
    `,
  ]

  protected override render(): TemplateResult | typeof nothing {
    const { view } = this
    if (!view) return nothing
    const { ring, others } = ringOf(view)
    const travelling = isSinging(view)
    return html`${ring.length > 0 ? this.lap(view, travelling) : nothing}
      <choir-model-card .view=${view} .voices=${this.voices}></choir-model-card>
      <ol aria-label="The ring, in the order in which a token travels">
        ${repeat(
          ring,
          ({ device }) => device.id,
          ({ device, linkMs }, i) =>
            html`<li>
              ${this.row(view, device)}
              ${
                ring.length > 1
                  ? html`<p class="link numbers ${travelling ? 'travelling' : ''}">
                      ${linkWords(linkMs, i === ring.length - 1 ? ring[0]?.device.name : '')}
                    </p>`
                  : nothing
              }
            </li>`,
        )}
      </ol>
      ${
        others.length === 0
          ? nothing
          : html`<ul aria-label="Phones that run no layers">
              ${repeat(
                others,
                ({ id }) => id,
                (device) => html`<li>${this.row(view, device)}</li>`,
              )}
            </ul>`
      }
      <choir-room-history
        .view=${view}
        .voices=${this.voices}
        .samples=${this.samples}
      ></choir-room-history>`
  }

  private lap(view: RoomView, travelling: boolean): TemplateResult {
    const { lapMs, devices } = view
    return html`<div class="lap">
      <choir-ring
        .arcs=${this.voices ? arcsOf(devices, this.voices) : []}
        ?running=${travelling}
        ><span class="big numbers"
          >${lapMs === null ? html`<span class="small">no lap yet</span>` : html`${milliseconds(lapMs)}<span class="small">a lap</span>`}</span
        ></choir-ring
      >
      <p class="hint legend" role="status">
        ${
          travelling
            ? 'Hidden states are travelling around the ring; each lap writes a token.'
            : 'Nothing travels now. Each lap around the ring writes a token.'
        }
      </p>
    </div>`
  }

  private row(view: RoomView, device: DeviceView): TemplateResult {
    return html`<choir-device-row
      data-testid="device-row"
      data-device-id=${device.id}
      data-state=${device.state.kind}
      data-from=${device.span?.from ?? nothing}
      data-to=${device.span?.to ?? nothing}
      .device=${device}
      .devices=${view.devices}
      .voices=${this.voices}
      .layers=${view.model?.layers ?? 0}
    ></choir-device-row>`
  }
}

/** @param home the phone at which the ring closes, or ''. */
function linkWords(ms: number | null, home = ''): string {
  const time = ms === null ? 'not measured yet' : milliseconds(ms)
  return home === '' ? time : `${time}, back to ${home}`
}
