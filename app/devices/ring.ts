/** The room as a ring: one arc per phone, as long as its share of the layers. */
import { css, html, LitElement, nothing, svg, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import { styleMap } from 'lit/directives/style-map.js'

export interface Arc {
  /** CSS colour. */
  readonly colour: string
  /** Share of the ring; shares need not add up to 1. */
  readonly share: number
  /** How much of the arc is ready, 0 to 1. */
  readonly done: number
}

const RADIUS = 42

/**
 * Decorative: what it shows is also written in words. The slot is its middle. Arcs jump: while one
 * grows the page is drawn 60 times a second, and answers wait for that where no GPU draws.
 */
@customElement('choir-ring')
export class ChoirRing extends LitElement {
  @property({ attribute: false }) arcs: readonly Arc[] = []
  /** A light runs around. */
  @property({ type: Boolean }) running = false
  /**
   * A light stands here, in turns. It moves with the answer: one that runs by itself is drawn
   * 60 times a second, which took a third of the computing where no GPU draws.
   */
  @property({ type: Number }) light: number | null = null
  @property({ type: Number }) stroke = 9

  static override readonly styles = css`
    :host {
      display: grid;
      place-items: center;
      aspect-ratio: 1;
    }
    svg,
    .middle {
      grid-area: 1 / 1;
    }
    svg {
      width: 100%;
      height: 100%;
      transform: rotate(-90deg);
      overflow: visible;
    }
    circle {
      fill: none;
    }
    .track {
      stroke: var(--line);
    }
    .share {
      opacity: 0.28;
    }
    .light {
      stroke: var(--ink);
      transform-origin: 50px 50px;
    }
    .light.runs {
      animation: lap 1.6s linear infinite;
    }
    @keyframes lap {
      to {
        transform: rotate(360deg);
      }
    }
    @media (prefers-reduced-motion: reduce) {
      .light.runs {
        animation: none;
        display: none;
      }
    }
  `

  protected override render(): TemplateResult {
    return html`<svg viewBox="0 0 100 100" aria-hidden="true">
        ${this.arcs.length === 0 ? this.circle('track', 0, 100, 'var(--line)') : nothing}
        ${this.drawn()}
        ${
          this.running || this.light !== null
            ? svg`<circle class=${this.running ? 'light runs' : 'light'} cx="50" cy="50"
              r=${RADIUS} pathLength="100" stroke-width=${this.stroke * 0.45}
              stroke-linecap="round" stroke-dasharray="0.01 99.99"
              stroke-dashoffset=${-100 * ((this.light ?? 0) % 1)} />`
            : nothing
        }
      </svg>
      <div class="middle"><slot></slot></div>`
  }

  private drawn(): unknown {
    const total = this.arcs.reduce((sum, { share }) => sum + share, 0)
    if (total <= 0) return nothing
    const alone = this.arcs.length === 1
    // Round ends stick out by half the stroke; leave that and a little air between arcs.
    const around = 2 * Math.PI * RADIUS
    const gap = alone
      ? 0
      : Math.min(100 / this.arcs.length / 2, ((this.stroke + 4) / around) * 100)
    let start = 0
    return this.arcs.map(({ colour, share, done }) => {
      const whole = (share / total) * 100
      const length = Math.max(0.01, whole - gap)
      const from = start + gap / 2
      start += whole
      return svg`${this.circle('share', from, length, colour)}
        ${done > 0 ? this.circle('done', from, Math.max(0.01, length * done), colour) : nothing}`
    })
  }

  private circle(
    kind: string,
    from: number,
    length: number,
    colour: string,
  ): TemplateResult<2> {
    return svg`<circle class=${kind} cx="50" cy="50" r=${RADIUS} pathLength="100"
      stroke-width=${this.stroke} stroke-linecap=${length >= 99.9 ? 'butt' : 'round'}
      stroke-dasharray="${length} ${100 - length}" stroke-dashoffset=${-from}
      style=${styleMap({ stroke: colour })} />`
  }
}
