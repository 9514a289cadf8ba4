/** How answers are chosen, and what the model is told beforehand. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import { controls } from '../styles/controls.ts'
import { LIMITS, SYSTEM_LENGTH, type Settings, type SettingsStore } from './settings.ts'

type NumberName = Exclude<keyof typeof LIMITS, 'seed'>

interface Choice {
  readonly name: NumberName
  readonly words: string
  readonly hint: string
  readonly step: number
}

const TEMPERATURE: Choice = {
  name: 'temperature',
  words: 'Temperature',
  hint: '0 always takes the likeliest word; higher is livelier.',
  step: 0.05,
}

const FINE: readonly Choice[] = [
  {
    name: 'maxTokens',
    words: 'Longest answer',
    hint: 'In tokens; a token is about three quarters of a word.',
    step: 16,
  },
  {
    name: 'topP',
    words: 'Top-p',
    hint: 'Only words that together are this likely.',
    step: 0.05,
  },
  {
    name: 'topK',
    words: 'Top-k',
    hint: 'Only so many of the likeliest words. 0 is all.',
    step: 1,
  },
  {
    name: 'repetitionPenalty',
    words: 'Repetition penalty',
    hint: 'Above 1 the model repeats itself less.',
    step: 0.05,
  },
]

@customElement('choir-answer-settings')
export class ChoirAnswerSettings extends LitElement {
  @property({ attribute: false }) settings: SettingsStore | undefined
  @property({ attribute: false }) value: Settings | undefined

  static override readonly styles = [
    controls,
    css`
      :host {
        display: grid;
        gap: 16px;
      }
      .line {
        display: flex;
        justify-content: space-between;
        align-items: baseline;
      }
      input[type='range'] + .hint {
        margin-top: -6px;
      }
      output {
        font-weight: 550;
      }
      .field {
        display: grid;
        gap: 6px;
      }
      textarea {
        min-height: 96px;
        resize: vertical;
      }
      .check {
        display: flex;
        align-items: center;
        gap: 10px;
        min-height: 44px;
      }
      .check input {
        width: 20px;
        height: 20px;
        margin: 0;
        accent-color: var(--accent);
      }
      details {
        border-radius: var(--radius);
        background: var(--card);
        box-shadow: var(--shadow);
      }
      summary {
        display: flex;
        align-items: center;
        min-height: 52px;
        padding: 0 18px;
        font-weight: 550;
        cursor: pointer;
        border-radius: var(--radius);
      }
      summary::after {
        content: '+';
        margin-left: auto;
        font-size: 24px;
        font-weight: 400;
        color: var(--ink-soft);
      }
      [open] summary::after {
        content: '–';
      }
      .fine {
        display: grid;
        gap: 18px;
        padding: 4px 18px 20px;
      }
    `,
  ]

  protected override render(): TemplateResult | typeof nothing {
    const { settings, value } = this
    if (!settings || !value) return nothing
    return html`<h3>Answers</h3>
      ${this.slider(TEMPERATURE)}
      <div class="field">
        <label for="system">Instructions for the model</label>
        <textarea
          id="system"
          maxlength=${SYSTEM_LENGTH}
          placeholder="For example: Answer briefly and kindly."
          .value=${value.system}
          @change=${(event: Event) => {
            if (event.target instanceof HTMLTextAreaElement)
              settings.update({ system: event.target.value })
          }}
        ></textarea>
      </div>
      <details>
        <summary>Fine tuning</summary>
        <div class="fine">
          ${FINE.map((choice) => this.slider(choice))}
          <div class="field">
            <label class="check">
              <input
                type="checkbox"
                data-testid="speculate"
                aria-describedby="speculate-hint"
                .checked=${value.speculate}
                @change=${(event: Event) => {
                  if (event.target instanceof HTMLInputElement)
                    settings.update({ speculate: event.target.checked })
                }}
              />
              Guess ahead
            </label>
            <p class="hint" id="speculate-hint">
              Words that come up again are checked several at a time. The answer stays the
              same.
            </p>
          </div>
          <div class="field">
            <label for="seed">Seed</label>
            <input
              id="seed"
              inputmode="numeric"
              autocomplete="off"
              placeholder="Another one each time"
              aria-describedby="seed-hint"
              .value=${value.seed === null ? '' : String(value.seed)}
              @change=${(event: Event) => {
                if (!(event.target instanceof HTMLInputElement)) return
                const digits = event.target.value.replace(/\D/g, '')
                const seed =
                  digits === '' ? null : Math.min(Number(digits), LIMITS.seed[1])
                settings.update({ seed })
                event.target.value = seed === null ? '' : String(seed)
              }}
            />
            <p class="hint" id="seed-hint">
              The same number gives the same answer again.
            </p>
          </div>
        </div>
      </details>`
  }

  private slider({ name, words, hint, step }: Choice): TemplateResult {
    const value = this.value?.[name] ?? 0
    const [min, max] = LIMITS[name]
    return html`<div>
      <div class="line">
        <label for=${name}>${words}</label>
        <output class="numbers" for=${name}>${short(value)}</output>
      </div>
      <input
        id=${name}
        data-testid=${name}
        type="range"
        min=${min}
        max=${max}
        step=${step}
        aria-describedby="${name}-hint"
        .value=${String(value)}
        @input=${(event: Event) => {
          if (event.target instanceof HTMLInputElement)
            this.settings?.update({ [name]: event.target.valueAsNumber })
        }}
      />
      <p class="hint" id="${name}-hint">${hint}</p>
    </div>`
  }
}

/** At most two decimals: sliders count in fractions that don't fit binary. */
function short(value: number): string {
  return String(Math.round(value * 100) / 100)
}
