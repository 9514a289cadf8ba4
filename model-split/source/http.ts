/** Reads files of a web server by ranges, and as a whole where it does not know ranges. */
import { rmSync } from 'node:fs'
import { mkdtemp, open, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitFor, type Sleep } from './sleep.ts'
import { LONGEST_TEXT, SourceError } from './source.ts'

const TRIES = 6
const FIRST_WAIT = 500
const LONGEST_WAIT = 30_000
/** A server that sends nothing for so long, in milliseconds, is asked again. */
const SILENCE = 30_000
/** A host that is not there is not tried so often. */
const ABSENT = /ENOTFOUND|ECONNREFUSED|EAI_AGAIN/
const TRIES_ABSENT = 3

export interface HttpOptions {
  readonly fetch?: typeof fetch
  readonly sleep?: Sleep
  readonly signal?: AbortSignal | undefined
}

/** What is known of a file after the first answer about it. */
interface Known {
  readonly size: number
  readonly etag: string | null
  readonly ranges: boolean
}

/** Thrown inside a try to have it repeated; `after` is the wait that the server asks for. */
class TryAgain extends Error {
  readonly after: number | null
  constructor(sentence: string, after: number | null = null) {
    super(sentence)
    this.after = after
  }
}

export class HttpFiles {
  readonly #fetch: typeof fetch
  readonly #sleep: Sleep
  readonly #signal: AbortSignal | undefined
  readonly #known = new Map<string, Promise<Known | null>>()
  readonly #copies = new Map<string, Promise<FileHandle>>()
  #folder: Promise<string> | null = null
  #downloads = 0
  /** Timers that end an answer when nothing comes any more. */
  readonly #silence = new WeakMap<Response, NodeJS.Timeout>()

  constructor({ fetch: given, sleep, signal }: HttpOptions = {}) {
    this.#fetch = given ?? fetch
    this.#sleep = sleep ?? waitFor
    this.#signal = signal
  }

  /** Size in bytes, or null where the server has no such file. */
  async size(url: string): Promise<number | null> {
    return (await this.#look(url))?.size ?? null
  }

  /** Exactly `length` bytes from `offset`. */
  async read(
    url: string,
    offset: number,
    length: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const known = await this.#look(url)
    if (!known) throw new SourceError(`There is no file at ${url}.`)
    if (offset + length > known.size)
      throw new SourceError(
        `${url} ends at byte ${known.size}, but bytes ${offset} to ${offset + length} were wanted.`,
      )
    if (length === 0) return new Uint8Array(0)
    if (!known.ranges) return this.#fromCopy(url, known, offset, length)
    return this.#retry(url, async () => {
      const response = await this.#request(url, offset, offset + length - 1)
      if (response.status !== 206) {
        await response.body?.cancel()
        throw changed(url)
      }
      const range = contentRange(response)
      if (range?.start !== offset || range.size !== known.size) {
        await response.body?.cancel()
        throw changed(url)
      }
      await sameFile(url, response, known)
      const bytes = new Uint8Array(length)
      let got = 0
      await this.#each(response, (chunk) => {
        if (got + chunk.length > length) throw new TryAgain('more bytes than asked for')
        bytes.set(chunk, got)
        got += chunk.length
      })
      if (got < length) throw new TryAgain(`the connection ended after ${got} bytes`)
      return bytes
    })
  }

  /** A document (a listing, a small text), or the status where there is none. */
  async document(
    url: string,
  ): Promise<{ readonly text: string; readonly next: string | null } | number> {
    return this.#retry(url, async () => {
      const response = await this.#request(url)
      if (!response.ok) {
        await response.body?.cancel()
        return response.status
      }
      const chunks: Uint8Array[] = []
      let size = 0
      await this.#each(response, (chunk) => {
        size += chunk.length
        if (size > LONGEST_TEXT)
          throw new SourceError(`${url} is too long for a listing.`)
        chunks.push(chunk)
      })
      const next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1]
      return { text: Buffer.concat(chunks).toString(), next: next ?? null }
    })
  }

  /** Removes the temporary copies. */
  async close(): Promise<void> {
    const copies = [...this.#copies.values()]
    this.#copies.clear()
    for (const copy of copies)
      await copy.then((file) => file.close()).catch(() => undefined)
    if (this.#folder) await rm(await this.#folder, { recursive: true, force: true })
    this.#folder = null
  }

  #look(url: string): Promise<Known | null> {
    const before = this.#known.get(url)
    if (before) return before
    const known = this.#retry(url, () => this.#probe(url))
    this.#known.set(url, known)
    known.catch(() => this.#known.delete(url))
    return known
  }

  /** Asks for the first byte: unlike HEAD, that also tells whether ranges work. */
  async #probe(url: string): Promise<Known | null> {
    const response = await this.#request(url, 0, 0)
    await response.body?.cancel()
    const etag = response.headers.get('etag')
    if (response.status === 404 || response.status === 410) return null
    // An empty file has no first byte.
    if (response.status === 416) return { size: 0, etag, ranges: true }
    if (response.status === 206) {
      const range = contentRange(response)
      if (range) return { size: range.size, etag, ranges: true }
    }
    if (response.status === 200) {
      const size = Number(response.headers.get('content-length') ?? NaN)
      if (Number.isSafeInteger(size)) return { size, etag, ranges: false }
      throw new SourceError(
        `The server does not say how large ${url} is; download the model and give its folder.`,
      )
    }
    throw refused(url, response.status)
  }

  async #fromCopy(
    url: string,
    known: Known,
    offset: number,
    length: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    let copy = this.#copies.get(url)
    if (!copy) {
      copy = this.#retry(url, () => this.#download(url, known))
      this.#copies.set(url, copy)
      copy.catch(() => this.#copies.delete(url))
    }
    const file = await copy
    const bytes = new Uint8Array(length)
    for (let got = 0; got < length;) {
      const { bytesRead } = await file.read(bytes, got, length - got, offset + got)
      if (bytesRead === 0) throw new SourceError(`The copy of ${url} became shorter.`)
      got += bytesRead
    }
    return bytes
  }

  async #download(url: string, known: Known): Promise<FileHandle> {
    this.#folder ??= temporaryFolder()
    const path = join(await this.#folder, String(this.#downloads++))
    const response = await this.#request(url)
    if (!response.ok) {
      await response.body?.cancel()
      throw refused(url, response.status)
    }
    await sameFile(url, response, known)
    const file = await open(path, 'w+')
    try {
      let got = 0
      await this.#each(response, async (chunk) => {
        got += chunk.length
        if (got > known.size) throw changed(url)
        await file.write(chunk)
      })
      if (got < known.size) throw new TryAgain(`the connection ended after ${got} bytes`)
      return file
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async #request(url: string, from?: number, to?: number): Promise<Response> {
    // Compressed answers have neither ranges nor lengths that mean anything here.
    const headers: Record<string, string> = { 'accept-encoding': 'identity' }
    if (from !== undefined) headers['range'] = `bytes=${from}-${to ?? ''}`
    const silent = new AbortController()
    const timer = setTimeout(
      () => silent.abort(new TryAgain(`nothing came for ${SILENCE / 1000} seconds`)),
      SILENCE,
    ).unref()
    const signals = this.#signal ? [this.#signal, silent.signal] : [silent.signal]
    const response = await this.#fetch(url, {
      headers,
      signal: AbortSignal.any(signals),
    }).finally(() => timer.refresh())
    this.#silence.set(response, timer)
    const { status } = response
    if (status === 408 || status === 429 || status >= 500) {
      await response.body?.cancel()
      const after = Number(response.headers.get('retry-after') ?? NaN)
      const wait = Number.isFinite(after) && after >= 0 ? after * 1000 : null
      throw new TryAgain(`it answered ${status}`, wait)
    }
    return response
  }

  async #each(
    response: Response,
    use: (chunk: Uint8Array) => void | Promise<void>,
  ): Promise<void> {
    const body: AsyncIterable<Uint8Array> | null = response.body
    if (!body) return
    for await (const chunk of body) {
      this.#silence.get(response)?.refresh()
      await use(chunk)
    }
  }

  async #retry<T>(url: string, attempt: () => Promise<T>): Promise<T> {
    let wait = FIRST_WAIT
    for (let tries = 1; ; tries++) {
      try {
        this.#signal?.throwIfAborted()
        return await attempt()
      } catch (error) {
        this.#signal?.throwIfAborted()
        const again = repeatable(error)
        if (!again) throw error
        const most = ABSENT.test(again.message) ? TRIES_ABSENT : TRIES
        if (tries >= most) throw unreachable(url, again, tries)
        await this.#sleep(Math.min(again.after ?? wait, LONGEST_WAIT), this.#signal)
        wait *= 2
      }
    }
  }
}

/** fetch throws a TypeError for whatever goes wrong in the network. */
function repeatable(error: unknown): TryAgain | null {
  if (error instanceof TryAgain) return error
  if (!(error instanceof TypeError)) return null
  const cause = error.cause instanceof Error ? error.cause.message : error.message
  return new TryAgain(cause || 'no connection')
}

function unreachable(url: string, last: TryAgain, tries: number): SourceError {
  return new SourceError(
    `${url} could not be read (${last.message}) after ${tries} tries; check the connection, or give a folder with the downloaded model.`,
  )
}

function refused(url: string, status: number): SourceError {
  if (status === 401 || status === 403)
    return new SourceError(
      `The server does not give ${url} to everyone (status ${status}); check the name, or download the model after signing in there and give its folder.`,
    )
  return new SourceError(
    `The server answered ${status} for ${url}; check the address, or give a folder with the downloaded model.`,
  )
}

function changed(url: string): SourceError {
  return new SourceError(`${url} changed while it was being read; start again.`)
}

async function sameFile(url: string, response: Response, known: Known): Promise<void> {
  const etag = response.headers.get('etag')
  if (etag === known.etag) return
  await response.body?.cancel()
  throw changed(url)
}

function contentRange(response: Response): { start: number; size: number } | null {
  const header = response.headers.get('content-range') ?? ''
  const match = /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15})$/.exec(header)
  return match ? { start: Number(match[1]), size: Number(match[2]) } : null
}

/** A folder that is gone when the process ends, even if nobody closes the source. */
async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'choir-'))
  process.once('exit', () => {
    rmSync(folder, { recursive: true, force: true })
  })
  return folder
}
