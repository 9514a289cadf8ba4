/** What the terminal shows once Choir is served. */
import { renderUnicodeCompact } from 'uqr'

export interface Greeting {
  /** The link for this computer. */
  readonly local: string
  /** Links that phones can open, best first; none on loopback. */
  readonly links: readonly string[]
  /** Where phones find the certificate to trust, when there is one. */
  readonly authority: string | null
}

export function greeting({ local, links, authority }: Greeting): string {
  const [best, ...others] = links
  if (!best)
    return lines(
      'Choir is open on this computer:',
      `  ${local}`,
      '',
      'For phones: npm start -- --lan',
      'Ctrl-C stops it.',
    )
  return lines(
    'Choir is open for this network. Scan with a phone, or type:',
    `  ${best}`,
    '',
    indent(renderUnicodeCompact(best, { border: 2 })),
    '',
    ...others.map((link) => `  also ${link}`),
    `  on this computer ${local}`,
    '',
    "A phone warns once, as the certificate is this computer's own: choose to go on.",
    ...(authority
      ? [
          'To put Choir on a home screen and use it offline, the phone must trust the certificate:',
          `open ${authority} there and install it`,
          '(iPhone: then also Settings, General, About, Certificate Trust Settings).',
          'It can vouch for addresses of local networks only.',
        ]
      : []),
    'Ctrl-C stops it.',
  )
}

function lines(...all: string[]): string {
  return all.join('\n') + '\n'
}

function indent(text: string): string {
  return text.replace(/^/gm, '  ')
}
