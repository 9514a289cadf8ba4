import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { fingerprint } from './build.ts'
import { greeting } from './greeting.ts'
import { cacheControl, HEADER_POLICY, PAGE_POLICY } from './headers.ts'
import { noRuntime } from './no-runtime.ts'
import { startOptions } from './options.ts'
import { lanAddresses, reachableOrigins } from './origins.ts'

const ipv4 = (address: string, internal = false) => ({
  address,
  internal,
  family: 'IPv4' as const,
  netmask: '255.255.255.0',
  mac: '00:00:00:00:00:00',
  cidr: null,
})

it('finds the addresses that phones can open, the likeliest first', () => {
  const interfaces = {
    lo: [ipv4('127.0.0.1', true)],
    docker0: [ipv4('192.168.99.1')],
    tailscale0: [ipv4('100.100.1.2')],
    eth0: [ipv4('10.0.0.7'), ipv4('169.254.3.4')],
    wlan0: [ipv4('192.168.1.20')],
  }
  expect(lanAddresses(interfaces)).toEqual([
    '192.168.1.20',
    '10.0.0.7',
    '192.168.99.1',
    '100.100.1.2',
  ])
})

it('names no origin that a phone could not open', () => {
  const at = (address: string) => ({ address, port: 4173, family: 'IPv4' })
  const lan = ['192.168.1.20', '10.0.0.7']
  expect(reachableOrigins(at('127.0.0.1'), true, lan)).toEqual([])
  expect(reachableOrigins(at('0.0.0.0'), false, lan)).toEqual([])
  expect(reachableOrigins(at('10.0.0.7'), true, lan)).toEqual(['https://10.0.0.7:4173'])
  expect(reachableOrigins(at('::'), true, lan)).toEqual([
    'https://192.168.1.20:4173',
    'https://10.0.0.7:4173',
  ])
})

it('shows a QR code only for addresses that a phone can open', () => {
  const local = 'http://127.0.0.1:4173/'
  const alone = greeting({ local, links: [], authority: null })
  expect(alone).toContain(local)
  expect(alone).toContain('npm start -- --lan')
  expect(alone).not.toMatch(/[█▀▄]/)
  const links = ['https://192.168.1.20:4173/', 'https://10.0.0.7:4173/']
  const open = greeting({ local, links, authority: `${links[0] ?? ''}choir-ca.crt` })
  for (const link of links) expect(open).toContain(link)
  expect(open).toContain('choir-ca.crt')
  expect(open).toMatch(/[█▀▄]{20}/)
})

it('reads its options and says what is wrong with them', () => {
  expect(startOptions([])).toEqual({ reach: 'loopback', port: 4173 })
  expect(startOptions(['--lan', '--port', '5000'])).toEqual({ reach: 'lan', port: 5000 })
  expect(() => startOptions(['--port', 'many'])).toThrow('--port takes a number')
  expect(() => startOptions(['--wan'])).toThrow('--wan')
})

it('lets only files that are named by their hash be kept for ever', () => {
  const forever = [
    '/assets/main-D4f.js',
    '/models/a/shards/00ff.bin',
    '/models/shards/0.bin',
  ]
  for (const path of forever) expect(cacheControl(path)).toContain('immutable')
  const asked = [
    '/',
    '/index.html',
    '/sw.js',
    '/models/a/manifest.json',
    '/models/a/graph.bin',
  ]
  for (const path of asked) expect(cacheControl(path)).toBe('no-cache')
})

it('allows neither foreign scripts nor inline ones nor foreign images', () => {
  for (const policy of [HEADER_POLICY, PAGE_POLICY]) {
    const scripts = policy
      .split('; ')
      .filter((rule) => !rule.startsWith('style-src-attr'))
    expect(scripts.join('; ')).not.toMatch(/'unsafe-|blob:|\*/)
    expect(policy).toContain("default-src 'none'")
  }
})

it("replaces what the tokenizer's package asks for, and nothing else", () => {
  const plugin = noRuntime('/stub.ts')
  const resolve = plugin.resolveId as unknown as (a: string, b?: string) => string | null
  const inside = '/app/node_modules/@huggingface/transformers/dist/transformers.web.js'
  for (const name of [
    'onnxruntime-web',
    'onnxruntime-web/webgpu',
    'onnxruntime-common',
    'sharp',
  ])
    expect(resolve(name, inside)).toBe('/stub.ts')
  expect(resolve('onnxruntime-web/wasm', '/app/workers/stage/engine.ts')).toBeNull()
  expect(resolve('@huggingface/jinja', inside)).toBeNull()
  expect(resolve('onnxruntime-web')).toBeNull()
})

it('notices every change of a source but not of a test', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'choir-sources-'))
  try {
    const file = join(folder, 'a.ts')
    await writeFile(file, 'one')
    const first = await fingerprint([folder])
    await writeFile(join(folder, 'a.test.ts'), 'test')
    expect(await fingerprint([folder])).toBe(first)
    await utimes(file, 1, 1)
    const second = await fingerprint([folder])
    expect(second).not.toBe(first)
    await writeFile(join(folder, 'b.ts'), '')
    expect(await fingerprint([folder])).not.toBe(second)
  } finally {
    await rm(folder, { recursive: true })
  }
})
