/** How fast the room was, and which layers moved when and why. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import type { RoomView } from '../room/types.ts'
import { clock, milliseconds, rate } from '../shell/format.ts'
import { controls } from '../styles/controls.ts'
import { speedWords, type RoomSample } from './room-log.ts'
import type { PlotLine } from './speed-plot.ts'
import type { Voices } from './voices.ts'

/** Rows of the table: as many samples, evenly spread over what is drawn. */
const ROWS = 8

const SPEED: readonly PlotLine[] = [
  {
    name: 'Tokens per second',
    colour: 'var(--accent)',
    value: ({ tokensPerSecond }) => tokensPerSecond,
  },
]

@customElement('choir-room-history')
export class ChoirRoomHistory extends LitElement {
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
      :host > * {
        min-width: 0;
      }
      h4 {
        margin: 0;
        font-size: 14px;
        font-weight: 550;
        color: var(--ink-soft);
      }
      summary {
        padding: 11px 0;
        color: var(--ink-soft);
        font-size: 15px;
        cursor: pointer;
      }
      .wide {
        overflow-x: auto;
      }
      table {
        border-collapse: collapse;
        font-size: 14px;
        white-space: nowrap;
      }
      th,
      td {
        padding: 6px 16px 6px 0;
        border-bottom: 1px solid var(--line);
        text-align: right;
      }
      th {
        font-weight: 550;
      }
      :is(th, td):first-child {
        text-align: left;
      }
      ol {
        display: grid;
        gap: 12px;
        list-style: none;
      }
      li {
        display: grid;
        grid-template-columns: auto 1fr;
        gap: 10px;
        font-size: 15px;
        line-height: 1.4;
      }
      time {
        color: var(--ink-soft);
        font-variant-numeric: tabular-nums;
      }
    `,
  ]

  override connectedCallback(): void {
    super.connectedCallback()
    // Where it does not load the table is still there.
    void import('./speed-plot.ts').catch(() => undefined)
  }

  protected override render(): TemplateResult | typeof nothing {
    const { view } = this
    if (!view) return nothing
    return html`${this.samples.length > 1 ? this.speed(view) : nothing}
      <h3>What moved</h3>
      ${
        view.notes.length === 0
          ? html`<p class="hint">
              Nothing yet. Layers move when phones come, go or slow down.
            </p>`
          : html`<ol data-testid="moves">
              ${view.notes
                .toReversed()
                .map(
                  ({ at, text }) =>
                    html`<li>
                      <time datetime=${new Date(at).toISOString()}>${clock(at)}</time
                      >${text}
                    </li>`,
                )}
            </ol>`
      }`
  }

  private speed({ devices }: RoomView): TemplateResult {
    const { samples } = this
    const stages = devices.filter(({ id }) => samples.some((s) => s.stages.has(id)))
    const lines: PlotLine[] = stages.map(({ id, name }) => ({
      name,
      colour: this.voices?.of(id) ?? 'var(--accent)',
      value: (sample) => sample.stages.get(id) ?? null,
    }))
    return html`<h3>Speed</h3>
      <h4>Tokens per second</h4>
      <choir-speed-plot
        .samples=${samples}
        .lines=${SPEED}
        .words=${speedWords(samples)}
      ></choir-speed-plot>
      <h4>Milliseconds per stage</h4>
      <choir-speed-plot
        .samples=${samples}
        .lines=${lines}
        .words=${stages
          .map(
            ({ name, stageMs }) =>
              `${name}: ${stageMs === null ? 'not measured' : milliseconds(stageMs)} per token`,
          )
          .join('; ')}
      ></choir-speed-plot>
      <details>
        <summary>The same as a table</summary>
        <div class="wide" tabindex="0" role="group" aria-label="Speed as a table">
          <table>
            <thead>
              <tr>
                <th scope="col">Time</th>
                <th scope="col">Tokens</th>
                ${stages.map(({ name }) => html`<th scope="col">${name}</th>`)}
              </tr>
            </thead>
            <tbody>
              ${spread(samples).map(
                (sample) =>
                  html`<tr>
                    <td>${clock(sample.at)}</td>
                    <td>
                      ${sample.tokensPerSecond === null ? '–' : rate(sample.tokensPerSecond)}
                    </td>
                    ${stages.map(({ id }) => {
                      const ms = sample.stages.get(id)
                      return html`<td>${ms === undefined ? '–' : milliseconds(ms)}</td>`
                    })}
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>
      </details>`
  }
}

function spread(samples: readonly RoomSample[]): readonly RoomSample[] {
  const step = Math.max(1, Math.ceil(samples.length / ROWS))
  return samples.filter((_, i) => (samples.length - 1 - i) % step === 0)
}
