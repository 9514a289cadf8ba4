/** A whole screen that isn't the chat: one column, room for notches. */
import { css } from 'lit'

export const page = css`
  main {
    display: grid;
    align-content: start;
    gap: 24px;
    width: 100%;
    max-width: 520px;
    min-height: 100dvh;
    margin: 0 auto;
    padding: calc(16px + var(--edge-top)) var(--edge-right)
      calc(32px + var(--edge-bottom)) var(--edge-left);
  }

  main > header {
    margin-left: -12px;
    min-height: var(--touch);
  }

  h1 {
    font-size: 26px;
    font-weight: 700;
    letter-spacing: -0.02em;
    line-height: 1.2;
  }
`
