/** How answers are set. */
import { css } from 'lit'

export const prose = css`
  .prose {
    overflow-wrap: anywhere;
    line-height: 1.6;
  }
  .prose.plain {
    white-space: pre-wrap;
  }
  .prose p,
  .prose ul,
  .prose ol,
  .prose blockquote,
  .prose .code,
  .prose .wide,
  .prose hr {
    margin: 0 0 14px;
  }
  .prose > :last-child > :last-child,
  .prose > :first-child:not(:last-child):has(+ :empty) > :last-child {
    margin-bottom: 0;
  }
  .prose h3,
  .prose h4,
  .prose h5,
  .prose h6 {
    margin: 22px 0 8px;
    font-size: 18px;
    font-weight: 650;
    line-height: 1.3;
  }
  .prose > :first-child > :first-child {
    margin-top: 0;
  }
  .prose ul {
    list-style: disc;
  }
  .prose ul,
  .prose ol {
    padding-left: 1.5em;
  }
  .prose li {
    margin: 4px 0;
  }
  .prose li > p {
    margin: 0 0 6px;
  }
  .prose li::marker {
    color: var(--ink-soft);
  }
  .prose blockquote {
    padding-left: 14px;
    border-left: 3px solid var(--line);
    color: var(--ink-soft);
  }
  .prose :not(pre) > code {
    padding: 0.1em 0.36em;
    border-radius: 6px;
    background: var(--sunken);
    font: 0.88em var(--font-mono);
  }
  .prose hr {
    border: 0;
    border-top: 1px solid var(--line);
  }
  .code {
    border: 1px solid var(--line);
    border-radius: var(--radius-small);
    background: var(--card);
    overflow: hidden;
  }
  .code .bar {
    display: flex;
    align-items: center;
    justify-content: space-between;
    min-height: var(--touch);
    padding: 0 4px 0 14px;
    border-bottom: 1px solid var(--line);
    color: var(--ink-soft);
    font-size: 14px;
  }
  .code .bar button {
    gap: 6px;
    padding: 6px 12px;
    background: transparent;
    color: var(--ink-soft);
    font-size: 14px;
  }
  .code pre {
    margin: 0;
    padding: 12px 14px;
    overflow-x: auto;
    font: 14px/1.55 var(--font-mono);
    overflow-wrap: normal;
  }
  .code pre:focus-visible,
  .wide:focus-visible {
    outline-offset: -3px;
  }
  .wide {
    overflow-x: auto;
  }
  .prose table {
    border-collapse: collapse;
    font-size: 15px;
    overflow-wrap: normal;
  }
  .prose th,
  .prose td {
    padding: 8px 14px 8px 0;
    border-bottom: 1px solid var(--line);
    text-align: left;
    vertical-align: top;
  }
  .prose th {
    font-weight: 650;
  }
`
