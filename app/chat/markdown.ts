/**
 * Model text to safe page content. Loaded late: the first answer brings it in.
 *
 * Two walls: raw HTML is escaped and images become links before anything is HTML, and what
 * is left passes an allowlist.
 */
import DOMPurify from 'dompurify'
import { Marked, type Token, type Tokens } from 'marked'

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escape(text: string, signs = /[&<>"']/g): string {
  return text.replace(signs, (sign) => escapes[sign] ?? '')
}

/** Addresses that a link may have; everything else is shown as text. */
export function isLinkable(href: string): boolean {
  return /^(https?:\/\/|mailto:)/i.test(href)
}

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    // Never as it is, also where it was read as part of raw HTML.
    text(token: Tokens.Text | Tokens.Escape) {
      return 'tokens' in token
        ? this.parser.parseInline(token.tokens)
        : escape(token.text, /&(?!#?\w+;)|[<>"']/g)
    },
    html: ({ text }: Tokens.HTML | Tokens.Tag) => escape(text),
    // Fetching a picture would tell its server what was asked.
    image: ({ href, text }: Tokens.Image) => link(href, escape(text || 'picture')),
    link({ href, tokens }: Tokens.Link) {
      return link(href, this.parser.parseInline(tokens))
    },
    // The page has headings of its own above these.
    heading({ tokens, depth }: Tokens.Heading) {
      const level = Math.min(6, depth + 2)
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`
    },
    checkbox: ({ checked }: Tokens.Checkbox) => (checked ? '☑ ' : '☐ '),
    code: ({ text, lang }: Tokens.Code) =>
      `<pre title="${escape(/^[\w+#.-]+/.exec(lang ?? '')?.[0] ?? '')}"><code>${escape(text)}</code></pre>`,
  },
})

function link(href: string, inner: string): string {
  return isLinkable(href) ? `<a href="${escape(href)}">${inner}</a>` : inner
}

/** Blocks of a text, in order; their `raw` texts joined give the text back. */
export function blocks(text: string): Token[] {
  return marked.lexer(text)
}

/** HTML of blocks, before the allowlist. */
export function toHtml(tokens: Token[]): string {
  return marked.parser(tokens)
}

const TAGS = [
  ...['p', 'br', 'hr', 'strong', 'em', 'del', 'code', 'pre', 'blockquote', 'a'],
  ...['ul', 'ol', 'li', 'h3', 'h4', 'h5', 'h6'],
  ...['table', 'thead', 'tbody', 'tr', 'th', 'td'],
]

/** Page content for blocks; links open elsewhere and tell nothing about this page. */
export function toContent(tokens: Token[]): DocumentFragment {
  const content = DOMPurify.sanitize(toHtml(tokens), {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ['href', 'title', 'start', 'align'],
    ALLOWED_URI_REGEXP: /^(https?:\/\/|mailto:)/i,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  })
  for (const anchor of content.querySelectorAll('a')) {
    anchor.target = '_blank'
    anchor.rel = 'noopener noreferrer nofollow'
  }
  return content
}
