/** What Choir keeps on this device. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import type { StorageReport } from '../../workers/shards/types.ts'
import { bytes } from '../shell/format.ts'
import { icons } from '../shell/icons.ts'
import type { Services } from '../shell/services.ts'
import { controls } from '../styles/controls.ts'

@customElement('choir-storage-settings')
export class ChoirStorageSettings extends LitElement {
  @property({ attribute: false }) services: Services | undefined
  @state() private report: StorageReport | null = null
  @state() private problem = ''
  /** Some browsers can't be asked, and none twice. */
  @state() private askable = 'storage' in navigator && 'persist' in navigator.storage

  static override readonly styles = [
    controls,
    css`
      :host {
        display: grid;
        gap: 12px;
      }
      li {
        display: flex;
        align-items: center;
        gap: 8px;
        padding: 8px 4px 8px 16px;
        border-radius: var(--radius);
        background: var(--card);
        box-shadow: var(--shadow);
      }
      ul {
        display: grid;
        gap: 10px;
      }
    `,
  ]

  override connectedCallback(): void {
    super.connectedCallback()
    this.load()
  }

  private load(): void {
    this.services?.storage().then(
      (report) => (this.report = report),
      () => (this.problem = 'This browser does not say what is stored.'),
    )
  }

  protected override render(): TemplateResult {
    const { report } = this
    return html`<h3>Storage</h3>
      ${this.problem ? html`<p class="error" role="alert">${this.problem}</p>` : nothing}
      ${
        report
          ? html`<p class="hint numbers">
                ${bytes(report.usedBytes)} used of about ${bytes(report.quotaBytes)}
                allowed.
                ${
                  report.persisted
                    ? 'The browser keeps it.'
                    : 'The browser may delete it when space is short; installing Choir helps.'
                }
              </p>
              ${
                report.persisted || !this.askable
                  ? nothing
                  : html`<button class="outline" @click=${() => this.persist()}>
                      Ask the browser to keep it
                    </button>`
              }
              <ul>
                ${report.models.map(
                  (model) =>
                    html`<li>
                      <div class="grow">
                        <p>${model.name}</p>
                        <p class="hint numbers">${bytes(model.bytes)}</p>
                      </div>
                      <button
                        class="icon"
                        aria-label="Delete ${model.name} from this phone"
                        @click=${() => this.forget(model.url)}
                      >
                        ${icons.trash()}
                      </button>
                    </li>`,
                )}
              </ul>
              ${
                report.models.length === 0
                  ? html`<p class="hint">No model is stored yet.</p>`
                  : nothing
              }`
          : nothing
      }`
  }

  private persist(): void {
    this.askable = false
    navigator.storage.persist().then(
      (granted) => {
        if (granted) this.load()
        else
          this.problem =
            'The browser did not agree. Install Choir on the home screen, and it will.'
      },
      () => undefined,
    )
  }

  private forget(url: string): void {
    this.problem = ''
    this.services?.removeModel(url).then(
      () => this.load(),
      () =>
        (this.problem = 'The model could not be deleted. Reload the page and try again.'),
    )
  }
}
