/** A server of cut folders inside a test, that fails as servers and networks do. */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { MANIFEST_FORMAT, MANIFEST_VERSION } from '../../../model-split/manifest.ts'
import type { Manifest } from '../../../model-split/manifest.ts'
import type { Clock } from '../clock.ts'
import type { Fetcher } from '../request.ts'

export type Fault =
  | { readonly kind: 'offline' }
  | {
      readonly kind: 'status'
      readonly status: number
      readonly headers?: Record<string, string>
    }
  /** The connection breaks after so many bytes. */
  | { readonly kind: 'cut'; readonly after: number }
  /** The body ends in good order after so many bytes. */
  | { readonly kind: 'short'; readonly after: number }
  | { readonly kind: 'stall'; readonly after: number }
  | { readonly kind: 'ignore-range' }
  | { readonly kind: 'flip'; readonly at: number }
  | { readonly kind: 'longer'; readonly extra: number }
  /** Waits until the promise is fulfilled. */
  | { readonly kind: 'wait'; readonly until: Promise<void> }

export interface Request {
  readonly path: string
  readonly range: string | null
  readonly ifRange: string | null
}

interface Served {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly etag: string | null
}

const PART = 64 * 2 ** 10

export class Origin {
  readonly files = new Map<string, Served>()
  readonly requests: Request[] = []
  /** Faults for the next requests of a path, or of any path ('*'); one per request. */
  readonly faults = new Map<string, (Fault | null)[]>()
  /** Body bytes handed out. */
  sentBytes = 0
  /** Bodies open at once, now and at most. */
  open = 0
  mostOpen = 0
  /** Bodies that have stalled. */
  stalled = 0

  constructor(readonly url = 'https://models.test/') {}

  put(path: string, bytes: Uint8Array<ArrayBuffer>, etag: string | null = '"1"'): string {
    this.files.set(path, { bytes, etag })
    return this.url + path
  }

  fail(path: string, ...faults: (Fault | null)[]): void {
    this.faults.set(path, [...(this.faults.get(path) ?? []), ...faults])
  }

  readonly fetch: Fetcher = async (url, init) => {
    const headers = new Headers(init.headers)
    const range = headers.get('Range')
    const path = url.slice(this.url.length)
    this.requests.push({ path, range, ifRange: headers.get('If-Range') })
    const fault = this.faults.get(path)?.shift() ?? this.faults.get('*')?.shift() ?? null
    if (fault?.kind === 'offline') throw new TypeError('fetch failed')
    if (fault?.kind === 'status')
      return new Response('no', {
        status: fault.status,
        ...(fault.headers && { headers: fault.headers }),
      })
    if (fault?.kind === 'wait') await fault.until
    const file = this.files.get(path)
    if (file === undefined) return new Response('no', { status: 404 })
    return this.answer(file, range, headers.get('If-Range'), fault, init.signal ?? null)
  }

  private answer(
    file: Served,
    range: string | null,
    ifRange: string | null,
    fault: Fault | null,
    signal: AbortSignal | null,
  ): Response {
    const headers: Record<string, string> = file.etag === null ? {} : { ETag: file.etag }
    const same = ifRange === null || ifRange === file.etag
    let from = 0
    let status = 200
    if (range !== null && same && fault?.kind !== 'ignore-range') {
      from = Number(/^bytes=(\d+)-$/.exec(range)?.[1])
      if (from >= file.bytes.byteLength)
        return new Response(null, { status: 416, headers })
      status = 206
      const size = file.bytes.byteLength
      headers['Content-Range'] = `bytes ${from}-${size - 1}/${size}`
    }
    let bytes = file.bytes.slice(from)
    if (fault?.kind === 'flip') bytes[fault.at] = (bytes[fault.at] ?? 0) ^ 1
    if (fault?.kind === 'longer')
      bytes = new Uint8Array([...bytes, ...new Uint8Array(fault.extra)])
    return new Response(this.body(bytes, fault, signal), { status, headers })
  }

  private body(bytes: Uint8Array, fault: Fault | null, signal: AbortSignal | null) {
    const most = fault !== null && 'after' in fault ? fault.after : Infinity
    let at = 0
    let closed = false
    const close = () => {
      if (!closed) this.open -= 1
      closed = true
    }
    this.open += 1
    this.mostOpen = Math.max(this.mostOpen, this.open)
    return new ReadableStream<Uint8Array<ArrayBuffer>>(
      {
        start: (controller) => {
          signal?.addEventListener('abort', () => {
            if (closed) return
            close()
            controller.error(signal.reason)
          })
        },
        pull: (controller) => {
          if (closed) return
          const end = Math.min(at + PART, bytes.byteLength, most)
          const part = bytes.slice(at, end)
          at = end
          this.sentBytes += part.byteLength
          if (part.byteLength > 0) {
            controller.enqueue(part)
          } else if (fault?.kind === 'stall') {
            this.stalled += 1
            return new Promise<void>(() => undefined)
          } else {
            close()
            if (fault?.kind === 'cut') controller.error(new TypeError('terminated'))
            else controller.close()
          }
          return undefined
        },
        cancel: close,
      },
      { highWaterMark: 0 },
    )
  }
}

/** Pauses pass at once and are noted; deadlines (4 s and 30 s) pass when told to. */
export class TestClock implements Clock {
  readonly pauses: number[] = []
  private time = 1_700_000_000_000
  private readonly deadlines = new Set<() => void>()

  now(): number {
    return this.time
  }

  sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    if (milliseconds !== 4_000 && milliseconds !== 30_000) {
      signal?.throwIfAborted()
      this.pauses.push(milliseconds)
      this.time += milliseconds
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      this.deadlines.add(resolve)
      signal?.addEventListener('abort', () => {
        this.deadlines.delete(resolve)
        reject(new DOMException('Stopped.', 'AbortError'))
      })
    })
  }

  /** Lets the deadlines pass that run now. */
  expire(): void {
    for (const resolve of this.deadlines) resolve()
  }
}

/** Reproducible bytes that don't repeat. */
export function bytesOf(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length)
  let state = seed * 2_654_435_761
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    bytes[i] = state >>> 24
  }
  return bytes
}

export function addressOf(bytes: Uint8Array): string {
  return bytesToHex(sha256(bytes))
}

/** Puts a cut folder with these shards on the server. */
export function serveModel(
  origin: Origin,
  folder: string,
  shards: readonly Uint8Array<ArrayBuffer>[],
  name = 'Tiny',
  texts: Readonly<Record<string, string>> = { 'tokenizer.json': '{}' },
): { url: string; manifest: Manifest; shards: string[]; bytes: number } {
  const encode = (text: string) => new TextEncoder().encode(text)
  const file = (path: string, bytes: Uint8Array<ArrayBuffer>) => {
    origin.put(`${folder}/${path}`, bytes)
    return { file: path, bytes: bytes.byteLength, sha256: addressOf(bytes) }
  }
  const addresses = shards.map((bytes) => {
    const sha256 = addressOf(bytes)
    origin.put(`${folder}/shards/${sha256}.bin`, bytes)
    return sha256
  })
  const manifest: Manifest = {
    format: MANIFEST_FORMAT,
    version: MANIFEST_VERSION,
    model: { name, variant: '', architecture: null, license: null },
    layers: 1,
    hidden: 4,
    vocabulary: 8,
    context: 16,
    batch: true,
    eos: [2],
    logits: { name: 'logits', dtype: 'float32', rows: 'all' },
    header: [0, 0],
    graph: file('graph.bin', bytesOf(5_000, 91)),
    golden: { ...file('golden.bin', bytesOf(700, 92)), ids: [1], logits: [0, 0] },
    pieces: {},
    feeds: {},
    segments: [],
    tensors: {},
    dependencies: { sequential: [], residual: [] },
    blobs: {},
    shards: Object.fromEntries(
      shards.map((bytes) => [addressOf(bytes), { bytes: bytes.byteLength }]),
    ),
    files: [
      file('config.json', encode(`{"name":${JSON.stringify(name)}}`)),
      ...Object.entries(texts).map(([path, text]) => file(path, encode(text))),
    ],
  }
  origin.put(`${folder}/manifest.json`, encode(JSON.stringify(manifest)))
  const small = [manifest.graph, manifest.golden, ...manifest.files]
  const bytes =
    small.reduce((sum, each) => sum + each.bytes, 0) +
    shards.reduce((sum, each) => sum + each.byteLength, 0)
  return { url: `${origin.url}${folder}/`, manifest, shards: addresses, bytes }
}
