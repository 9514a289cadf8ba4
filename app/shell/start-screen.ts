/** The first screen: what Choir is, start a room, join one. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import '../devices/ring.ts'
import type { Arc } from '../devices/ring.ts'
import { controls } from '../styles/controls.ts'
import { page } from '../styles/page.ts'
import { emit } from './emit.ts'
import { bytes } from './format.ts'
import { icons } from './icons.ts'
import './install-hint.ts'
import type { Preflight, Services } from './services.ts'

const HERO: readonly Arc[] = [
  [1, 5],
  [5, 3],
  [2, 4],
  [4, 2],
  [0, 4],
].map(([voice = 0, share = 1]) => ({ colour: `var(--voice-${voice})`, share, done: 1 }))

/** @fires choir-create, choir-open-join, choir-open-settings, choir-retry. */
@customElement('choir-start-screen')
export class ChoirStartScreen extends LitElement {
  @property({ attribute: false }) services: Services | undefined
  /** Why the last attempt failed. */
  @property() problem = ''
  /** Offers to try the same room again. */
  @property({ type: Boolean }) retryable = false
  @state() private preflight: Preflight | null = null
  @state() private offline = !navigator.onLine

  static override readonly styles = [
    controls,
    page,
    css`
      main {
        align-content: space-between;
        gap: 28px;
      }
      .top {
        display: flex;
        justify-content: flex-end;
        min-height: var(--touch);
        margin: 0 -10px 0 0;
      }
      .hero {
        display: grid;
        justify-items: center;
        gap: 22px;
        text-align: center;
      }
      choir-ring {
        width: min(46%, 24dvh, 190px);
      }
      h1 {
        font-size: 44px;
        letter-spacing: -0.035em;
      }
      .lead {
        max-width: 24em;
        font-size: 19px;
        line-height: 1.45;
        text-wrap: balance;
      }
      .actions {
        display: grid;
        gap: 12px;
      }
      .facts {
        display: grid;
        gap: 10px;
        padding: 4px 2px;
      }
      .fact {
        display: flex;
        gap: 12px;
        align-items: start;
        font-size: 15px;
        line-height: 1.45;
        color: var(--ink-soft);
      }
      .fact svg {
        margin-top: 1px;
      }
      .fact.problem {
        color: var(--warn);
      }
      .failed button {
        background: var(--card);
      }
      .failed {
        display: grid;
        gap: 10px;
        justify-items: start;
        padding: 14px 16px;
        border-radius: var(--radius);
        background: var(--bad-soft);
      }
    `,
  ]

  override connectedCallback(): void {
    super.connectedCallback()
    addEventListener('online', this.network)
    addEventListener('offline', this.network)
    this.services?.preflight().then(
      (preflight) => (this.preflight = preflight),
      () => undefined,
    )
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    removeEventListener('online', this.network)
    removeEventListener('offline', this.network)
  }

  private readonly network = (): void => {
    this.offline = !navigator.onLine
  }

  protected override render(): TemplateResult {
    return html`<main>
      <div class="top">
        <button
          class="icon"
          aria-label="Settings"
          data-testid="settings-open"
          @click=${() => emit(this, 'choir-open-settings')}
        >
          ${icons.settings()}
        </button>
      </div>
      <div class="hero">
        <choir-ring running .arcs=${HERO} .stroke=${10}></choir-ring>
        <h1>Choir</h1>
        <p class="lead">
          The phones in a room run one language model together, right in the browser.
        </p>
      </div>
      <div class="actions">
        ${
          this.problem
            ? html`<div class="failed" role="alert">
                <p>${this.problem}</p>
                ${
                  this.retryable
                    ? html`<button @click=${() => emit(this, 'choir-retry')}>
                        ${icons.retry()}Try this room again
                      </button>`
                    : nothing
                }
              </div>`
            : nothing
        }
        <button
          class="primary large"
          data-testid="start-room"
          @click=${() => emit(this, 'choir-create')}
        >
          Start a room
        </button>
        <button
          class="soft large"
          data-testid="join-room"
          @click=${() => emit(this, 'choir-open-join')}
        >
          Join a room
        </button>
      </div>
      <div class="facts">
        ${
          this.offline
            ? fact(
                icons.warn,
                'This phone is offline. Connect it to the same Wi-Fi as the others.',
                'problem',
              )
            : nothing
        }
        ${this.lends()}
        ${fact(
          icons.warn,
          'Everyone who lends layers could reconstruct what is asked. Open a room with people you trust.',
        )}
        <choir-install-hint></choir-install-hint>
      </div>
    </main>`
  }

  private lends(): TemplateResult | TemplateResult[] {
    const { preflight } = this
    if (!preflight) return fact(icons.phone, 'Looking at what this phone can lend …')
    const { memoryBytes, engine, problems } = preflight
    const words =
      engine === 'webgpu'
        ? 'and computes with its graphics chip.'
        : 'and computes with its processor, which is slower.'
    return [
      fact(
        icons.phone,
        `This phone can lend about ${bytes(memoryBytes)} of memory ${words}`,
      ),
      ...problems.map((problem) => fact(icons.warn, problem, 'problem')),
    ]
  }
}

function fact(
  icon: (size?: number) => TemplateResult,
  text: string,
  kind = '',
): TemplateResult {
  return html`<p class="fact ${kind}">${icon(22)}<span>${text}</span></p>`
}
