/** A link as a QR code: black on white with its quiet zone, also in the dark. */
import { generate } from 'lean-qr'
import { css, html, LitElement, type TemplateResult } from 'lit'
import { customElement, property, query } from 'lit/decorators.js'

/** Modules of white around the code that scanners need (ISO/IEC 18004, 6.3.8). */
const QUIET = 4
/** Canvas pixels per module. */
const SCALE = 8

@customElement('choir-qr')
export class ChoirQr extends LitElement {
  @property() text = ''
  @query('canvas') private readonly canvas: HTMLCanvasElement | undefined

  static override readonly styles = css`
    :host {
      display: block;
    }
    canvas {
      display: block;
      width: 100%;
      aspect-ratio: 1;
      border-radius: var(--radius);
      background: #fff;
      image-rendering: pixelated;
    }
  `

  protected override render(): TemplateResult {
    return html`<canvas
      data-testid="qr"
      role="img"
      aria-label="QR code of the room: scan it with another phone's camera"
    ></canvas>`
  }

  protected override updated(): void {
    const { canvas } = this
    const context = canvas?.getContext('2d')
    if (!canvas || !context || this.text === '') return
    const code = generate(this.text)
    const side = code.size + 2 * QUIET
    canvas.width = canvas.height = side * SCALE
    context.fillStyle = '#fff'
    context.fillRect(0, 0, canvas.width, canvas.height)
    context.fillStyle = '#000'
    for (let y = 0; y < code.size; y += 1)
      for (let x = 0; x < code.size; x += 1)
        if (code.get(x, y))
          context.fillRect((x + QUIET) * SCALE, (y + QUIET) * SCALE, SCALE, SCALE)
  }
}
