/** Cross-origin isolation for hosts whose headers can't be set. */

/** A copy of the response under which a page gets shared memory, and so WASM threads. */
export function isolated(response: Response): Response {
  // Opaque and error responses can't be copied, and a redirect must stay one.
  if (response.status === 0 || response.redirected) return response
  const headers = new Headers(response.headers)
  headers.set('Cross-Origin-Opener-Policy', 'same-origin')
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp')
  headers.set('Cross-Origin-Resource-Policy', 'same-origin')
  const { status, statusText } = response
  const body = [101, 204, 205, 304].includes(status) ? null : response.body
  return new Response(body, { status, statusText, headers })
}
