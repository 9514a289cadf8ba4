/** Line icons, 24 by 24, drawn in the text colour. Decorative: the button has the name. */
import { html, svg, type SVGTemplateResult, type TemplateResult } from 'lit'

function icon(paths: SVGTemplateResult, size = 24): TemplateResult {
  return html`<svg
    width=${size}
    height=${size}
    viewBox="0 0 24 24"
    fill="none"
    stroke="currentColor"
    stroke-width="1.9"
    stroke-linecap="round"
    stroke-linejoin="round"
    aria-hidden="true"
  >
    ${paths}
  </svg>`
}

export const icons = {
  close: () => icon(svg`<path d="M6 6l12 12M18 6L6 18" />`),
  back: () => icon(svg`<path d="M15 5l-7 7 7 7" />`),
  forward: (size = 20) => icon(svg`<path d="M9 5l7 7-7 7" />`, size),
  send: () => icon(svg`<path d="M12 19V5M5.5 11.5L12 5l6.5 6.5" />`),
  stop: () =>
    icon(svg`<rect x="7" y="7" width="10" height="10" rx="2" fill="currentColor" />`),
  invite: () =>
    icon(
      svg`<circle cx="9.5" cy="8" r="3.6" /><path d="M3 20c0-3.6 2.9-6 6.5-6s6.5 2.4 6.5 6M19 7.5v6M16 10.5h6" />`,
    ),
  newChat: () =>
    icon(
      svg`<path d="M12.5 4.5H7a3 3 0 0 0-3 3V17a3 3 0 0 0 3 3h9.500a3 3 0 0 0 3-3v-5.5" /><path d="M10 14l.6-3 7.4-7.400a1.7 1.7 0 0 1 2.4 2.400L13 13.400z" />`,
    ),
  settings: () =>
    icon(
      svg`<path d="M4 7.500h9M18.5 7.500H20M4 16.500h1.500M11 16.500h9" /><circle cx="15.7" cy="7.5" r="2.6" /><circle cx="8.3" cy="16.5" r="2.6" />`,
    ),
  copy: (size = 20) =>
    icon(
      svg`<rect x="9" y="9" width="11" height="11" rx="2.5" /><path d="M5.5 15H5a1.5 1.5 0 0 1-1.5-1.500V5A1.5 1.5 0 0 1 5 3.500h8.500A1.5 1.5 0 0 1 15 5v.5" />`,
      size,
    ),
  share: (size = 20) =>
    icon(
      svg`<path d="M12 15V3.500M7.5 7.500L12 3.500l4.5 4M6 11.500H5.500A1.5 1.5 0 0 0 4 13v6a1.5 1.5 0 0 0 1.5 1.500h13A1.5 1.5 0 0 0 20 19v-6a1.5 1.5 0 0 0-1.5-1.500H18" />`,
      size,
    ),
  scan: () =>
    icon(
      svg`<path d="M4 8.500V6a2 2 0 0 1 2-2h2.500M15.5 4H18a2 2 0 0 1 2 2v2.500M20 15.500V18a2 2 0 0 1-2 2h-2.500M8.5 20H6a2 2 0 0 1-2-2v-2.500M7.5 12h9" />`,
    ),
  phone: (size = 20) =>
    icon(
      svg`<rect x="7" y="3" width="10" height="18" rx="2.5" /><path d="M11 18h2" />`,
      size,
    ),
  retry: (size = 20) =>
    icon(svg`<path d="M19.5 12a7.5 7.5 0 1 1-2.3-5.400M19.5 4v4h-4" />`, size),
  trash: (size = 20) =>
    icon(
      svg`<path d="M4.5 7h15M9.5 7V4.500h5V7M6.5 7l.8 12a1.5 1.5 0 0 0 1.5 1.500h6.400a1.5 1.5 0 0 0 1.5-1.500l.8-12" />`,
      size,
    ),
  edit: (size = 20) =>
    icon(svg`<path d="M5 19l.9-4L16 4.900a2 2 0 0 1 3 3L9 18z" />`, size),
  warn: (size = 20) =>
    icon(svg`<path d="M12 4l9 15.500H3zM12 10v4.500M12 17.200v.1" />`, size),
  check: (size = 20) => icon(svg`<path d="M5 12.500l4.5 4.500L19 7.5" />`, size),
  down: () => icon(svg`<path d="M12 5v14M5.5 12.500L12 19l6.5-6.5" />`),
  history: (size = 20) =>
    icon(svg`<path d="M4 12a8 8 0 1 0 2.5-5.800M4 4.500v4h4M12 8v4.500l3 1.8" />`, size),
}
