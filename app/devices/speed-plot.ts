/** Tokens/s and the time of each stage over the last minutes, drawn by uPlot. Loaded late. */
import { css, html, LitElement, unsafeCSS, type TemplateResult } from 'lit'
import { customElement, property, query } from 'lit/decorators.js'
import UPlot from 'uplot'
import plotStyles from 'uplot/dist/uPlot.min.css?inline'
import { clock } from '../shell/format.ts'
import type { RoomSample } from './room-log.ts'

export interface PlotLine {
  readonly name: string
  /** CSS colour; variables are allowed. */
  readonly colour: string
  readonly value: (sample: RoomSample) => number | null
}

const HEIGHT = 120

@customElement('choir-speed-plot')
export class ChoirSpeedPlot extends LitElement {
  @property({ attribute: false }) samples: readonly RoomSample[] = []
  @property({ attribute: false }) lines: readonly PlotLine[] = []
  /** What the picture shows, for those who don't see it. */
  @property() words = ''
  @query('div') private readonly home: HTMLElement | undefined
  private plot: UPlot | null = null
  /** Lines and colours that the plot was made with. */
  private made = ''
  private readonly sizes = new ResizeObserver(() => {
    const width = this.clientWidth
    if (width > 0) this.plot?.setSize({ width, height: HEIGHT })
  })

  static override readonly styles = [
    unsafeCSS(plotStyles),
    css`
      :host {
        display: block;
        min-height: ${HEIGHT}px;
      }
    `,
  ]

  override connectedCallback(): void {
    super.connectedCallback()
    this.sizes.observe(this)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.sizes.disconnect()
    this.plot?.destroy()
    this.plot = null
    this.made = ''
  }

  protected override render(): TemplateResult {
    return html`<div role="img" aria-label=${this.words}></div>`
  }

  protected override updated(): void {
    const colours = this.lines.map(({ colour }) => this.resolve(colour))
    const ink = this.resolve('var(--ink-soft)')
    const made = [ink, ...colours].join(' ')
    if (made !== this.made) {
      this.made = made
      this.plot?.destroy()
      this.plot = this.draw(colours, ink)
    }
    this.plot?.setData([
      this.samples.map(({ at }) => at / 1000),
      ...this.lines.map(({ value }) => this.samples.map(value)),
    ])
  }

  private draw(colours: readonly string[], ink: string): UPlot | null {
    if (!this.home) return null
    const grid = { stroke: this.resolve('var(--line)'), width: 1 }
    const axis = { stroke: ink, grid, ticks: { show: false }, font: '12px system-ui' }
    return new UPlot(
      {
        width: Math.max(1, this.clientWidth),
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        axes: [
          {
            ...axis,
            size: 24,
            space: 90,
            grid: { show: false },
            values: (_plot, times) => times.map((time) => clock(time * 1000)),
          },
          { ...axis, size: 40, space: 28 },
        ],
        scales: { y: { range: (_plot, _least, most) => [0, Math.max(1, most * 1.1)] } },
        series: [
          {},
          ...this.lines.map(({ name }, i) => ({
            label: name,
            stroke: colours[i] ?? ink,
            width: 2,
            // A short answer is a single sample, which no line would show.
            points: { show: true, size: 4, fill: colours[i] ?? ink },
          })),
        ],
      },
      [[]],
      this.home,
    )
  }

  /** A canvas knows no variables. Asked of an element on which no transition runs. */
  private resolve(colour: string): string {
    const { home } = this
    if (!home) return 'gray'
    home.style.color = colour
    const resolved = getComputedStyle(home).color
    home.style.color = ''
    return resolved
  }
}
