/** Bytes on their way into the store: hashed as they come, stored chunk by chunk. */
import { sha256 as SHA256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { CHUNK_BYTES } from './store.ts'
import type { ShardStore } from './store.ts'

type Hash = ReturnType<typeof SHA256.create>

/**
 * The one writer of a file. At most one chunk of it is in memory; `crypto.subtle` can't hash
 * a stream, hence the library.
 */
export class Intake {
  /** The server's ETag of what was received, where it sent one. */
  etag: string | null
  private hash: Hash = SHA256.create()
  private total = 0
  private buffer: Uint8Array<ArrayBuffer>
  private filled = 0

  private constructor(
    private readonly store: ShardStore,
    private readonly sha256: string,
    /** Never takes more bytes than this. */
    readonly limit: number,
    private readonly writer: number,
    etag: string | null,
  ) {
    this.etag = etag
    this.buffer = new Uint8Array(Math.min(CHUNK_BYTES, limit))
  }

  /** Goes on after the last stored chunk, whose bytes are hashed again one by one. */
  static async begin(
    store: ShardStore,
    sha256: string,
    limit: number,
    signal?: AbortSignal,
  ): Promise<Intake | 'complete'> {
    const partial = await store.begin(sha256)
    if (partial === 'complete') return partial
    const intake = new Intake(store, sha256, limit, partial.writer, partial.etag)
    for (const [index, size] of partial.sizes.entries()) {
      signal?.throwIfAborted()
      const bytes = await readChunk(store, sha256, index)
      if (bytes?.byteLength !== size || intake.total + size > limit) {
        await intake.restart()
        break
      }
      intake.hash.update(bytes)
      intake.total += size
    }
    return intake
  }

  /** Bytes received so far, stored or buffered. */
  get received(): number {
    return this.total
  }

  /**
   * Takes the next bytes, up to the limit.
   * @returns how many were taken.
   */
  async write(bytes: Uint8Array): Promise<number> {
    const taken = Math.min(bytes.byteLength, this.limit - this.total)
    for (let from = 0; from < taken;) {
      const room = Math.min(taken - from, this.buffer.byteLength - this.filled)
      const part = bytes.subarray(from, from + room)
      this.buffer.set(part, this.filled)
      this.hash.update(part)
      this.filled += room
      this.total += room
      from += room
      if (this.filled === this.buffer.byteLength) await this.flush()
    }
    return taken
  }

  /** Stores what is buffered, so that a later visit goes on from here. */
  async flush(): Promise<void> {
    if (this.filled === 0) return
    const chunk = new Blob([this.buffer.subarray(0, this.filled)])
    await this.store.append(this.sha256, this.writer, chunk, this.etag)
    this.filled = 0
  }

  /** Back to zero bytes. */
  async restart(): Promise<void> {
    await this.store.restart(this.sha256, this.writer)
    this.hash = SHA256.create()
    this.total = 0
    this.filled = 0
    this.etag = null
  }

  /** Whether the bytes are those of the address; only then is the file marked complete. */
  async finish(): Promise<boolean> {
    if (bytesToHex(this.hash.clone().digest()) !== this.sha256) return false
    await this.flush()
    await this.store.complete(this.sha256, this.writer)
    return true
  }
}

/** Storage may give a Blob that can no longer be read; that is as good as none. */
async function readChunk(
  store: ShardStore,
  sha256: string,
  index: number,
): Promise<Uint8Array | undefined> {
  const blob = await store.chunk(sha256, index)
  try {
    return blob && new Uint8Array(await blob.arrayBuffer())
  } catch {
    return undefined
  }
}
