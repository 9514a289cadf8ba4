/** Rules that every element's shadow root shares: reset, type, buttons, fields. */
import { css } from 'lit'

export const controls = css`
  *,
  *::before,
  *::after {
    box-sizing: border-box;
  }

  :host([hidden]),
  [hidden] {
    display: none !important;
  }

  h1,
  h2,
  h3,
  p,
  ul,
  ol,
  dl,
  dd {
    margin: 0;
    padding: 0;
  }

  ul {
    list-style: none;
  }

  h2,
  h3 {
    font-weight: 650;
    letter-spacing: -0.01em;
    line-height: 1.25;
  }

  h3 {
    font-size: 17px;
  }

  svg {
    display: block;
    flex: none;
  }

  a {
    color: var(--accent);
    text-underline-offset: 0.18em;
  }

  button,
  input,
  textarea,
  select {
    font: inherit;
    color: inherit;
  }

  button,
  .button {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 8px;
    min-height: var(--touch);
    padding: 8px 18px;
    border: 1px solid transparent;
    border-radius: 999px;
    background: var(--quiet);
    color: var(--ink);
    font-weight: 550;
    line-height: 1.2;
    text-decoration: none;
    cursor: pointer;
    touch-action: manipulation;
    transition:
      background-color 0.15s,
      transform 0.12s;
  }

  button:active {
    transform: scale(0.98);
  }

  button:disabled {
    cursor: default;
    color: var(--ink-soft);
    transform: none;
  }

  button.primary {
    background: var(--accent);
    color: var(--on-accent);
  }

  button.primary:disabled {
    background: var(--quiet);
    color: var(--ink-soft);
  }

  button.soft {
    background: var(--accent-soft);
    color: var(--on-accent-soft);
  }

  button.outline,
  .button.outline {
    background: transparent;
    border-color: var(--line);
  }

  button.bad {
    background: var(--bad-soft);
    color: var(--bad);
  }

  button.icon {
    width: var(--touch);
    padding: 0;
    background: transparent;
  }

  button.large {
    width: 100%;
    min-height: 56px;
    font-size: 18px;
  }

  @media (hover: hover) {
    button.primary:hover:enabled {
      background: var(--accent-press);
    }
    button.icon:hover:enabled {
      background: var(--quiet);
    }
  }

  :focus-visible {
    outline: 3px solid var(--accent);
    outline-offset: 2px;
  }

  label,
  .label {
    font-weight: 550;
  }

  input:not([type='range'], [type='checkbox'], [type='radio']),
  textarea,
  select {
    width: 100%;
    min-height: 48px;
    padding: 10px 14px;
    border: 1px solid var(--edge);
    border-radius: var(--radius-small);
    background: var(--card);
    font-size: 17px;
  }

  input::placeholder,
  textarea::placeholder {
    color: var(--ink-soft);
    opacity: 1;
  }

  input[type='range'] {
    width: 100%;
    height: var(--touch);
    margin: 0;
    accent-color: var(--accent);
  }

  .hint {
    color: var(--ink-soft);
    font-size: 15px;
    line-height: 1.45;
  }

  .error {
    color: var(--bad);
    font-size: 15px;
  }

  .row {
    display: flex;
    align-items: center;
    gap: 12px;
  }

  .stack {
    display: grid;
    gap: var(--gap);
  }

  .grow {
    flex: 1;
    min-width: 0;
  }

  .numbers {
    font-variant-numeric: tabular-nums;
  }

  .visually-hidden {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }

  @media (prefers-reduced-motion: reduce) {
    *,
    *::before,
    *::after {
      animation-duration: 0.01ms !important;
      animation-iteration-count: 1 !important;
      transition-duration: 0.01ms !important;
      scroll-behavior: auto !important;
    }
  }
`
