import { expect, it } from 'vitest'
import { isolated } from './isolate.ts'
import { messageFrom } from './messages.ts'

const origin = 'https://choir.example'

it('isolates a page whose server does not', async () => {
  const copy = isolated(new Response('<p>', { headers: { 'Content-Type': 'text/html' } }))
  expect(copy.headers.get('Cross-Origin-Opener-Policy')).toBe('same-origin')
  expect(copy.headers.get('Cross-Origin-Embedder-Policy')).toBe('require-corp')
  expect(copy.headers.get('Content-Type')).toBe('text/html')
  expect(await copy.text()).toBe('<p>')
})

it('leaves alone what cannot be copied, and copies empty responses', () => {
  const failed = Response.error()
  expect(isolated(failed)).toBe(failed)
  expect(isolated(new Response(null, { status: 304 })).status).toBe(304)
})

it('keeps only runtime files of its own origin', () => {
  const urls = [
    '/assets/ort-wasm-simd-threaded-B4x.wasm',
    `${origin}/assets/ort-wasm-simd-threaded-C1.mjs`,
    'https://elsewhere.example/assets/ort-wasm.wasm',
    '/models/a/shards/00.bin',
    7,
    'http://[',
  ]
  expect(messageFrom({ type: 'cache-runtime', urls }, origin)).toEqual({
    type: 'cache-runtime',
    urls: [
      `${origin}/assets/ort-wasm-simd-threaded-B4x.wasm`,
      `${origin}/assets/ort-wasm-simd-threaded-C1.mjs`,
    ],
  })
})

it('ignores what it does not know', () => {
  for (const data of [
    null,
    'SKIP_WAITING',
    {},
    { type: 'cache-runtime' },
    { type: 'other' },
  ])
    expect(messageFrom(data, origin)).toBeNull()
  expect(messageFrom({ type: 'SKIP_WAITING' }, origin)).toEqual({ type: 'SKIP_WAITING' })
})
