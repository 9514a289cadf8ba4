/** The top of a room: the model, how it is, who is here. */
import {
  css,
  html,
  LitElement,
  nothing,
  type PropertyValues,
  type TemplateResult,
} from 'lit'
import { customElement, property } from 'lit/decorators.js'
import { styleMap } from 'lit/directives/style-map.js'
import { arcsOf } from '../devices/arcs.ts'
import '../devices/avatar.ts'
import { RateMeter, roomProgress } from '../devices/progress.ts'
import '../devices/ring.ts'
import { statusWords } from '../devices/status.ts'
import type { Voices } from '../devices/voices.ts'
import type { RoomView } from '../room/types.ts'
import { controls } from '../styles/controls.ts'
import { announce } from './announcer.ts'
import { emit } from './emit.ts'
import { count } from './format.ts'
import { icons } from './icons.ts'

/** Pictures beside each other; more are a number. */
const SHOWN = 4
/** Letters of an answer for which the light goes around once. */
const LAP = 64

/** @fires choir-open with the name of a sheet, choir-new-chat. */
@customElement('choir-room-header')
export class ChoirRoomHeader extends LitElement {
  @property({ attribute: false }) view: RoomView | undefined
  @property({ attribute: false }) voices: Voices | undefined
  private readonly meter = new RateMeter()
  private told = ''

  static override readonly styles = [
    controls,
    css`
      :host {
        display: block;
        padding: calc(8px + var(--edge-top)) 10px 0 16px;
        background: var(--paper);
        border-bottom: 1px solid var(--line);
      }
      .inner {
        max-width: calc(var(--column) + 60px);
        margin: 0 auto;
      }
      .top {
        display: flex;
        align-items: center;
        gap: 0;
      }
      choir-ring {
        width: 36px;
        margin-right: 12px;
      }
      .name {
        flex: 1;
        min-width: 0;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
        font-weight: 650;
        letter-spacing: -0.01em;
      }
      .strip {
        display: flex;
        justify-content: flex-start;
        gap: 10px;
        width: 100%;
        min-height: 48px;
        padding: 4px 6px 4px 0;
        border-radius: var(--radius-small);
        background: transparent;
        font-weight: 450;
        font-size: 15px;
        text-align: left;
      }
      .faces {
        display: flex;
      }
      .faces > * {
        --avatar: 30px;
        margin-left: -8px;
        border-radius: 50%;
        box-shadow: 0 0 0 2px var(--paper);
      }
      .faces > :first-child {
        margin-left: 0;
      }
      .more {
        display: grid;
        place-items: center;
        width: 30px;
        height: 30px;
        background: var(--sunken);
        font-size: 13px;
        font-weight: 600;
      }
      .status {
        flex: 1;
        min-width: 0;
        display: flex;
        align-items: center;
        gap: 8px;
        color: var(--ink-soft);
      }
      .status span {
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .status::before {
        content: '';
        flex: none;
        width: 9px;
        height: 9px;
        border-radius: 50%;
        background: var(--voice-1);
      }
      .status.good::before {
        background: light-dark(#1a8a4c, #5fd38d);
      }
      .status.bad::before {
        background: var(--bad);
      }
      .status.bad {
        color: var(--bad);
      }
      .status.busy::before {
        animation: breathe 1.4s ease-in-out infinite;
      }
      @keyframes breathe {
        50% {
          opacity: 0.3;
        }
      }
      .strip svg {
        color: var(--ink-soft);
      }
      .meter {
        height: 3px;
        margin: 0 -10px -2px -16px;
        overflow: hidden;
      }
      .meter i {
        display: block;
        height: 100%;
        background: var(--accent);
        transition: width 0.3s;
      }
    `,
  ]

  protected override willUpdate(changed: PropertyValues<this>): void {
    const { view } = this
    if (!changed.has('view') || !view) return
    const progress = roomProgress(view.devices)
    if (progress?.phase === 'fetching')
      this.meter.add(performance.now(), progress.done, progress.total)
    else this.meter.clear()
  }

  protected override updated(): void {
    const { view } = this
    if (!view || view.status.kind === this.told) return
    // Percentages would be read out without end; changes of state are worth a word.
    if (this.told !== '') announce(statusWords(view, null).text)
    this.told = view.status.kind
  }

  protected override render(): TemplateResult | typeof nothing {
    const { view, voices } = this
    if (!view || !voices) return nothing
    const words = statusWords(view, this.meter.secondsLeft())
    const newest = view.messages.at(-1)
    return html`<header class="inner">
        <div class="top">
          <choir-ring
            .arcs=${arcsOf(view.devices, voices)}
            .stroke=${14}
            .light=${newest?.state === 'streaming' ? newest.text.length / LAP : null}
          ></choir-ring>
          <p class="name">${view.model?.name ?? 'Choir'}</p>
          ${this.button('invite', 'Invite', 'invite-open', icons.invite())}
          <button
            class="icon"
            aria-label="New chat"
            data-testid="new-chat"
            @click=${() => emit(this, 'choir-new-chat')}
          >
            ${icons.newChat()}
          </button>
          ${this.button('settings', 'Settings', 'settings-open', icons.settings())}
        </div>
        <button
          class="strip"
          data-testid="devices-open"
          @click=${() => emit(this, 'choir-open', 'devices')}
        >
          ${this.faces(view, voices)}
          <span class="visually-hidden"
            >${count(view.devices.length, 'phone', 'phones')},
          </span>
          <span
            class="status ${words.tone} numbers"
            data-testid="room-status"
            data-status=${view.status.kind}
            ><span>${words.text}</span></span
          >
          ${icons.forward()}
        </button>
      </header>
      ${
        words.fraction === null
          ? nothing
          : html`<div class="meter">
              <i style=${styleMap({ width: `${words.fraction * 100}%` })}></i>
            </div>`
      }`
  }

  private faces({ devices }: RoomView, voices: Voices): TemplateResult {
    const shown = devices.length > SHOWN ? devices.slice(0, SHOWN - 1) : devices
    const more = devices.length - shown.length
    return html`<span class="faces" aria-hidden="true">
      ${shown.map(
        ({ id, name }) =>
          html`<choir-avatar
            brief
            .name=${name}
            .colour=${voices.of(id)}
          ></choir-avatar>`,
      )}
      ${more > 0 ? html`<span class="more">+${more}</span>` : nothing}
    </span>`
  }

  private button(
    sheet: string,
    label: string,
    testId: string,
    icon: TemplateResult,
  ): TemplateResult {
    return html`<button
      class="icon"
      aria-label=${label}
      data-testid=${testId}
      @click=${() => emit(this, 'choir-open', sheet)}
    >
      ${icon}
    </button>`
  }
}
