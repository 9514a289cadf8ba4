/** Light, dark, or as the system has it. */
import type { Theme } from './settings.ts'

/** Page colour, as in tokens.css; the browser's bars take it. */
const BARS = { light: '#f8f6ff', dark: '#12101f' } as const

export function applyTheme(theme: Theme, page: Document): void {
  if (theme === 'system') delete page.documentElement.dataset['theme']
  else page.documentElement.dataset['theme'] = theme
  for (const meta of page.querySelectorAll<HTMLMetaElement>('meta[name="theme-color"]')) {
    const own = meta.media.includes('dark') ? 'dark' : 'light'
    meta.content = BARS[theme === 'system' ? own : theme]
  }
}
