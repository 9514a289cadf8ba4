/** How others get into the room: scan, link, or six letters. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import type { RoomView } from '../room/types.ts'
import { announce } from '../shell/announcer.ts'
import { icons } from '../shell/icons.ts'
import { reachableOrigin } from '../shell/reachable-origin.ts'
import { controls } from '../styles/controls.ts'
import { openLink } from './link.ts'
import './qr-code.ts'

@customElement('choir-invite')
export class ChoirInvite extends LitElement {
  @property({ attribute: false }) view: RoomView | undefined
  /** Where phones find this app; undefined until the server answered. */
  @state() private origin: string | null | undefined = undefined
  @state() private copied = false

  static override readonly styles = [
    controls,
    css`
      :host {
        display: grid;
        gap: 20px;
      }
      choir-qr {
        width: min(100%, 320px, 46dvh);
        margin: 0 auto;
        border-radius: var(--radius);
        box-shadow: var(--shadow);
      }
      .center {
        text-align: center;
      }
      .actions {
        display: grid;
        grid-auto-flow: column;
        grid-auto-columns: 1fr;
        gap: 12px;
      }
      .link {
        padding: 12px 14px;
        border-radius: var(--radius-small);
        background: var(--sunken);
        font: 14px/1.4 var(--font-mono);
        overflow-wrap: anywhere;
        user-select: all;
      }
      .code {
        display: block;
        margin: 4px 0;
        font: 650 34px/1.2 var(--font-mono);
        letter-spacing: 0.22em;
        padding-left: 0.22em;
      }
      .card {
        display: grid;
        gap: 8px;
        padding: 16px;
        border-radius: var(--radius);
        background: var(--warn-soft);
      }
      .card code {
        padding: 2px 6px;
        border-radius: 6px;
        background: var(--card);
        font: 15px var(--font-mono);
      }
    `,
  ]

  override connectedCallback(): void {
    super.connectedCallback()
    void reachableOrigin(location, (url) => fetch(url, { cache: 'no-store' })).then(
      (origin) => (this.origin = origin),
    )
  }

  protected override render(): TemplateResult | typeof nothing {
    const { view } = this
    if (!view || this.origin === undefined) return nothing
    const open = openLink(view.link, this.origin)
    const link = open ?? view.link
    return html`${
        open === null
          ? this.loopback()
          : html`<choir-qr .text=${link}></choir-qr>
              <p class="hint center">Point another phone's camera at this code.</p>`
      }
      <div class="actions">
        <button class="primary" @click=${() => this.copy(link)}>
          ${this.copied ? icons.check() : icons.copy()}${this.copied ? 'Copied' : 'Copy link'}
        </button>
        ${
          'share' in navigator
            ? html`<button class="soft" @click=${() => this.share(link)}>
                ${icons.share()}Share
              </button>`
            : nothing
        }
      </div>
      <p class="link" data-testid="room-link" data-link=${link}>${link}</p>
      ${
        view.code
          ? html`<div class="center">
              <p class="hint">or type these letters on the other phone</p>
              <strong class="code" data-testid="code">${view.code}</strong>
              <p class="hint">You will be asked before that phone comes in.</p>
            </div>`
          : nothing
      }`
  }

  private loopback(): TemplateResult {
    return html`<div class="card">
      <h3>Other phones can't open this address yet</h3>
      <p>
        It only works on this computer. Start Choir with
        <code>npm start -- --lan</code> and open the address that it prints.
      </p>
      <p class="hint">Until then, the link below opens more windows on this computer.</p>
    </div>`
  }

  private copy(link: string): void {
    const done = (): void => {
      this.copied = true
      announce('The link is copied.')
      setTimeout(() => (this.copied = false), 2500)
    }
    const select = (): void => {
      // No clipboard here (no https): mark the link, so that it can be copied by hand.
      const text = this.renderRoot.querySelector('.link')
      if (text) getSelection()?.selectAllChildren(text)
      announce('The link is selected. Copy it.')
    }
    if (!('clipboard' in navigator)) select()
    else navigator.clipboard.writeText(link).then(done, select)
  }

  private share(link: string): void {
    navigator
      .share({ title: 'Choir', text: 'Join my room in Choir', url: link })
      .catch(() => undefined)
  }
}
