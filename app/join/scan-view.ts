/** The camera picture, looking for a room. */
import { css, html, LitElement, type TemplateResult } from 'lit'
import { customElement, query, state } from 'lit/decorators.js'
import { emit } from '../shell/emit.ts'
import { controls } from '../styles/controls.ts'
import { findLink } from './link.ts'
import { openCamera, openDetector } from './scanner.ts'

const PAUSE_MS = 80

type ScanState =
  | { readonly kind: 'opening' }
  | { readonly kind: 'looking'; readonly hint: string }
  | { readonly kind: 'failed'; readonly message: string }

/** @fires choir-found with a FoundLink; the camera is off then. */
@customElement('choir-scan')
export class ChoirScan extends LitElement {
  @query('video') private readonly video: HTMLVideoElement | undefined
  @state() private scan: ScanState = { kind: 'opening' }
  private abort: AbortController | null = null

  static override readonly styles = [
    controls,
    css`
      :host {
        display: block;
      }
      .frame {
        position: relative;
        aspect-ratio: 1;
        max-height: 52dvh;
        margin: 0 auto;
        border-radius: 24px;
        background: #111;
        overflow: hidden;
      }
      video {
        width: 100%;
        height: 100%;
        object-fit: cover;
      }
      .finder {
        position: absolute;
        inset: 14%;
        border-radius: 20px;
        box-shadow: 0 0 0 100vmax rgb(0 0 0 / 0.34);
        outline: 3px solid #fff;
      }
      .words {
        margin-top: 12px;
        text-align: center;
      }
      .failed {
        padding: 16px;
        border-radius: var(--radius);
        background: var(--warn-soft);
        display: grid;
        gap: 12px;
        justify-items: start;
      }
      .failed button {
        background: var(--card);
      }
    `,
  ]

  override connectedCallback(): void {
    super.connectedCallback()
    document.addEventListener('visibilitychange', this.visibility)
    if (this.hasUpdated) this.start()
  }

  protected override firstUpdated(): void {
    this.start()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    document.removeEventListener('visibilitychange', this.visibility)
    this.abort?.abort()
    this.abort = null
  }

  protected override render(): TemplateResult {
    const { scan } = this
    return html`<div class="frame" ?hidden=${scan.kind === 'failed'}>
        <video
          data-testid="scan-video"
          aria-label="Camera picture"
          playsinline
          muted
          .muted=${true}
        ></video>
        <div class="finder"></div>
      </div>
      ${
        scan.kind === 'failed'
          ? html`<div class="failed" role="alert">
              <p>${scan.message}</p>
              <button @click=${() => this.start()}>Try the camera again</button>
            </div>`
          : html`<p class="words hint" role="status">
              ${scan.kind === 'opening' ? 'Opening the camera …' : scan.hint}
            </p>`
      } `
  }

  private start(): void {
    this.abort?.abort()
    const abort = new AbortController()
    this.abort = abort
    this.scan = { kind: 'opening' }
    this.run(abort).catch((error: unknown) => {
      if (abort.signal.aborted) return
      abort.abort()
      const message = error instanceof Error ? error.message : 'The camera did not start.'
      this.scan = { kind: 'failed', message }
    })
  }

  private async run(abort: AbortController): Promise<void> {
    const { video } = this
    if (!video) return
    const { signal } = abort
    await openCamera(video, signal)
    const detector = await openDetector()
    signal.addEventListener('abort', () => detector.close(), { once: true })
    if (signal.aborted) {
      detector.close()
      return
    }
    this.scan = { kind: 'looking', hint: 'Point the camera at the code of the room.' }
    for (;;) {
      const text = video.readyState >= 2 ? await detector.detect(video) : null
      if (abort.signal.aborted) return
      if (text !== null) {
        const found = findLink(text, location.href)
        if (found.kind !== 'none') {
          abort.abort()
          if ('vibrate' in navigator) navigator.vibrate(30)
          emit(this, 'choir-found', found)
          return
        }
        this.scan = { kind: 'looking', hint: 'That code is not a room of Choir.' }
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
  }

  /** A camera that nobody looks at is off. */
  private readonly visibility = (): void => {
    if (document.visibilityState === 'hidden') this.abort?.abort()
    else if (this.abort?.signal.aborted && this.scan.kind !== 'failed') this.start()
  }
}
