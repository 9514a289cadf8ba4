/** What Choir is, what it keeps private and what not, and whose work is in it. */
import { css, html, LitElement, type TemplateResult } from 'lit'
import { customElement } from 'lit/decorators.js'
import { controls } from '../styles/controls.ts'

const PARTS = [
  'ONNX Runtime Web (MIT)',
  'Transformers.js (Apache-2.0)',
  'PeerJS (MIT)',
  'Lit (BSD-3-Clause)',
  'Comlink (Apache-2.0)',
  'idb (ISC)',
  'Valibot (MIT)',
  'noble-hashes (MIT)',
  'Marked (MIT)',
  'DOMPurify (Apache-2.0 or MPL-2.0)',
  'lean-qr (MIT)',
  'qr (MIT or Apache-2.0)',
  'Workbox (MIT)',
  'uPlot (MIT)',
  'protobuf.js (BSD-3-Clause)',
]

@customElement('choir-about')
export class ChoirAbout extends LitElement {
  static override readonly styles = [
    controls,
    css`
      :host {
        display: grid;
        gap: 12px;
      }
      p,
      li {
        font-size: 15px;
        line-height: 1.5;
        color: var(--ink-soft);
      }
      summary {
        display: flex;
        align-items: center;
        min-height: var(--touch);
        font-weight: 550;
        cursor: pointer;
      }
      details ul {
        padding-left: 18px;
        list-style: disc;
      }
    `,
  ]

  protected override render(): TemplateResult {
    return html`<h3>About and privacy</h3>
      <p>
        Choir cuts a language model into layers. Each phone in the room runs a few of
        them, and the phones talk to each other directly. No server reads along, and
        nothing is counted or reported.
      </p>
      <p>
        Everyone who lends layers could reconstruct what is asked, and sees the network
        address of your phone. So open rooms with people you trust. Answers can be wrong.
      </p>
      <details>
        <summary>Licences</summary>
        <p>Choir is free software under the MIT licence. It uses:</p>
        <ul>
          ${PARTS.map((part) => html`<li>${part}</li>`)}
        </ul>
      </details>`
  }
}
