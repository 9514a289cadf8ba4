/** Ways into somebody's room: scan, paste the link, or type six letters. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, state } from 'lit/decorators.js'
import { emit } from '../shell/emit.ts'
import { icons } from '../shell/icons.ts'
import { controls } from '../styles/controls.ts'
import { page } from '../styles/page.ts'
import { cleanCode, CODE_LENGTH, findLink, type FoundLink } from './link.ts'

/** @fires choir-back, choir-join with a link, choir-knock with a code. */
@customElement('choir-join-screen')
export class ChoirJoinScreen extends LitElement {
  @state() private scanning = false
  @state() private linkError = ''
  @state() private codeError = ''
  @state() private elsewhere: { link: string; host: string } | null = null

  static override readonly styles = [
    controls,
    page,
    css`
      section {
        display: grid;
        gap: 10px;
      }
      .field {
        display: flex;
        gap: 8px;
      }
      .field button {
        flex: none;
        min-height: 48px;
        border-radius: var(--radius-small);
      }
      #code {
        font: 600 20px var(--font-mono);
        letter-spacing: 0.2em;
        text-transform: uppercase;
      }
      .or {
        display: flex;
        align-items: center;
        gap: 14px;
        color: var(--ink-soft);
        font-size: 15px;
      }
      .or::before,
      .or::after {
        content: '';
        flex: 1;
        height: 1px;
        background: var(--line);
      }
      .card {
        display: grid;
        gap: 12px;
        padding: 16px;
        border-radius: var(--radius);
        background: var(--warn-soft);
        overflow-wrap: anywhere;
      }
    `,
  ]

  protected override render(): TemplateResult {
    return html`<main>
      <header class="row">
        <button class="icon" aria-label="Back" @click=${() => emit(this, 'choir-back')}>
          ${icons.back()}
        </button>
        <h1>Join a room</h1>
      </header>
      ${this.elsewhere ? this.otherPlace(this.elsewhere) : nothing}
      <section aria-label="Scan">
        ${
          this.scanning
            ? html`<choir-scan
                  @choir-found=${(event: CustomEvent<FoundLink>) => this.found(event)}
                ></choir-scan>
                <button @click=${() => (this.scanning = false)}>Stop the camera</button>`
            : html`<button
                  class="primary large"
                  data-testid="scan-button"
                  @click=${() => this.scan()}
                >
                  ${icons.scan()}Scan the code
                </button>
                <p class="hint">
                  Somebody in the room opens “Invite” and shows it to you.
                </p>`
        }
      </section>
      <p class="or">or</p>
      <form novalidate @submit=${(event: SubmitEvent) => this.goLink(event)}>
        <section>
          <label for="link">Link of the room</label>
          <div class="field">
            <input
              id="link"
              data-testid="join-link-input"
              type="url"
              inputmode="url"
              autocomplete="off"
              autocapitalize="off"
              spellcheck="false"
              placeholder="https://…"
              aria-describedby="link-error"
            />
            <button class="soft" data-testid="join-link-go">Join</button>
          </div>
          <p class="error" id="link-error" role="alert">${this.linkError}</p>
        </section>
      </form>
      <form novalidate @submit=${(event: SubmitEvent) => this.goCode(event)}>
        <section>
          <label for="code">Six letters</label>
          <div class="field">
            <input
              id="code"
              data-testid="code-input"
              autocomplete="off"
              autocapitalize="characters"
              spellcheck="false"
              maxlength="12"
              aria-describedby="code-error code-hint"
            />
            <button class="soft" data-testid="code-go">Knock</button>
          </div>
          <p class="error" id="code-error" role="alert">${this.codeError}</p>
          <p class="hint" id="code-hint">Somebody in the room then lets you in.</p>
        </section>
      </form>
    </main>`
  }

  private otherPlace({ link, host }: { link: string; host: string }): TemplateResult {
    return html`<div class="card" role="alert">
      <p>
        That room is at another address: <strong>${host}</strong>. Open it only if you
        know it.
      </p>
      <a class="button" href=${link} rel="noreferrer">Open ${host}</a>
    </div>`
  }

  private scan(): void {
    this.scanning = true
    this.elsewhere = null
    void import('./scan-view.ts')
  }

  private found(event: CustomEvent<FoundLink>): void {
    this.scanning = false
    this.take(event.detail)
  }

  private take(found: FoundLink): void {
    this.elsewhere = found.kind === 'elsewhere' ? found : null
    if (found.kind === 'room') emit(this, 'choir-join', found.link)
  }

  private value(id: string): string {
    return this.renderRoot.querySelector<HTMLInputElement>(`#${id}`)?.value ?? ''
  }

  private goLink(event: SubmitEvent): void {
    event.preventDefault()
    const found = findLink(this.value('link'), location.href)
    this.linkError =
      found.kind === 'none'
        ? 'This is not the link of a room. Copy it again from “Invite”.'
        : ''
    this.take(found)
  }

  private goCode(event: SubmitEvent): void {
    event.preventDefault()
    const code = cleanCode(this.value('code'))
    this.codeError = code.length < CODE_LENGTH ? 'The code has six letters.' : ''
    if (code.length === CODE_LENGTH) emit(this, 'choir-knock', code)
  }
}
