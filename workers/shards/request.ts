/** One HTTP request for the rest of a file, and what its answer means. */

export type Fetcher = (url: string, init: RequestInit) => Promise<Response>

export type Answer =
  /** Bytes from `start` on; 0 where the server sends the whole file. */
  | {
      readonly kind: 'body'
      readonly start: number
      readonly etag: string | null
      readonly body: ReadableStream<Uint8Array>
    }
  /** The server can't go on from there (416, another ETag, another range): begin anew. */
  | { readonly kind: 'anew' }
  /** Worth trying again, not before so many milliseconds. */
  | { readonly kind: 'later'; readonly after: number; readonly status: number }
  /** Trying again won't help. */
  | { readonly kind: 'refused'; readonly status: number }

export interface RangeRequest {
  readonly url: string
  /** First byte wanted. */
  readonly start: number
  /** ETag of the bytes before `start`, where the server sent one. */
  readonly etag: string | null
  /** Origin of the app: only there does If-Range go without a CORS preflight. */
  readonly origin: string | null
}

/**
 * @param now milliseconds since 1970, for a Retry-After that is a date.
 * @throws what fetch throws: TypeError without network, the signal's reason.
 */
export async function requestRest(
  fetcher: Fetcher,
  { url, start, etag, origin }: RangeRequest,
  now: number,
  signal: AbortSignal,
): Promise<Answer> {
  const headers: Record<string, string> = {}
  if (start > 0) {
    headers['Range'] = `bytes=${start}-`
    // A weak ETag doesn't vouch for bytes, RFC 9110 13.1.5.
    if (etag !== null && !etag.startsWith('W/') && new URL(url).origin === origin)
      headers['If-Range'] = etag
  }
  // The store is the cache; a second copy in the HTTP cache would halve the room.
  const response = await fetcher(url, { headers, signal, cache: 'no-store' })
  const { status, body } = response
  if ((status === 200 || status === 206) && body !== null) {
    const found = response.headers.get('ETag')
    if (status === 200) return { kind: 'body', start: 0, etag: found, body }
    // Cross-origin, Content-Range and ETag may be hidden; the hash decides then.
    const range = /^bytes (\d+)-/.exec(response.headers.get('Content-Range') ?? '')
    const moved = range !== null && Number(range[1]) !== start
    const changed = etag !== null && found !== null && opaque(etag) !== opaque(found)
    if (!moved && !changed) return { kind: 'body', start, etag: found ?? etag, body }
  }
  // What isn't read must be let go, or the connection stays occupied.
  await body?.cancel().catch(() => undefined)
  if (status === 206 || (status === 416 && start > 0)) return { kind: 'anew' }
  if (status === 429 || status === 408 || status === 425 || status >= 500)
    return { kind: 'later', status, after: retryAfter(response, now) }
  return { kind: 'refused', status }
}

function opaque(etag: string): string {
  return etag.replace(/^W\//, '')
}

/** RFC 9110 10.2.3: seconds or a date. */
function retryAfter(response: Response, now: number): number {
  const value = response.headers.get('Retry-After')
  if (value === null) return 0
  const date = Date.parse(value)
  if (/^\d+$/.test(value)) return Number(value) * 1000
  return Number.isNaN(date) ? 0 : Math.max(0, date - now)
}
