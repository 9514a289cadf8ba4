/** How Choir presents itself when it is put on a home screen. */
import type { ManifestOptions } from 'vite-plugin-pwa'

/** Behind the mark, in the title bar and while the app starts. */
export const INK = '#14122b'

export const webManifest: Partial<ManifestOptions> = {
  id: '/',
  name: 'Choir',
  short_name: 'Choir',
  description: 'The phones in a room run one language model together.',
  lang: 'en',
  start_url: '.',
  scope: '.',
  display: 'standalone',
  background_color: INK,
  theme_color: INK,
  categories: ['productivity', 'utilities'],
  icons: [
    { src: 'icons/choir.svg', sizes: 'any', type: 'image/svg+xml' },
    { src: 'icons/choir-192.png', sizes: '192x192', type: 'image/png' },
    { src: 'icons/choir-512.png', sizes: '512x512', type: 'image/png' },
    {
      src: 'icons/choir-maskable-512.png',
      sizes: '512x512',
      type: 'image/png',
      purpose: 'maskable',
    },
  ],
}
