/** A model in a local folder. */
import { open, readdir, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, relative, sep } from 'node:path'
import { checkPath } from './path.ts'
import { SourceError, readText, type ModelSource } from './source.ts'

const MOST_FILES = 10_000

/**
 * Opens a folder. Symbolic links are followed while they stay inside it; the one exception
 * is the hub's download cache, whose `snapshots/<revision>` links into `blobs` beside it.
 * @throws SourceError unless it is a folder
 */
export async function openFolder(
  path: string,
  signal?: AbortSignal,
): Promise<ModelSource> {
  const info = await stat(path).catch(() => null)
  if (!info) throw new SourceError(`There is no folder ${path}.`)
  if (!info.isDirectory())
    throw new SourceError(
      `${path} is a file; give the folder that the model's config.json lies in.`,
    )
  const root = await realpath(path)
  const cache = dirname(root)
  const roots =
    basename(cache) === 'snapshots' ? [root, join(dirname(cache), 'blobs')] : [root]
  return new Folder(root, roots, signal)
}

class Folder implements ModelSource {
  readonly name: string
  readonly signal: AbortSignal | undefined
  readonly #root: string
  readonly #roots: readonly string[]

  constructor(root: string, roots: readonly string[], signal: AbortSignal | undefined) {
    this.#root = root
    this.#roots = roots
    this.name = basename(root)
    this.signal = signal
  }

  async list(): Promise<string[]> {
    this.signal?.throwIfAborted()
    const entries = await readdir(this.#root, { recursive: true, withFileTypes: true })
    const found: string[] = []
    for (const entry of entries) {
      const path = relative(this.#root, join(entry.parentPath, entry.name))
        .split(sep)
        .join('/')
      if (path.split('/').some((part) => part.startsWith('.'))) continue
      // A link that leads out is listed, so that reading it says what is wrong.
      if (entry.isFile() || entry.isSymbolicLink()) found.push(path)
      if (found.length > MOST_FILES)
        throw new SourceError(
          `The folder ${this.name} holds more than ${MOST_FILES} files; give the model's own folder.`,
        )
    }
    return found.sort()
  }

  async size(path: string): Promise<number | null> {
    const file = await this.#resolve(path)
    if (file === null) return null
    const info = await stat(file)
    return info.isFile() ? info.size : null
  }

  async read(
    path: string,
    offset: number,
    length: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const file = await this.#resolve(path)
    if (file === null) throw new SourceError(`${this.name} has no file ${path}.`)
    const handle = await open(file, 'r').catch((error: unknown) => {
      throw new SourceError(`${path} cannot be read; check its permissions.`, {
        cause: error,
      })
    })
    try {
      const { size } = await handle.stat()
      if (offset + length > size)
        throw new SourceError(
          `${path} ends at byte ${size}, but bytes ${offset} to ${offset + length} were wanted; download it again.`,
        )
      const bytes = new Uint8Array(length)
      for (let got = 0; got < length;) {
        this.signal?.throwIfAborted()
        const { bytesRead } = await handle.read(bytes, got, length - got, offset + got)
        if (bytesRead === 0)
          throw new SourceError(`${path} became shorter while it was being read.`)
        got += bytesRead
      }
      return bytes
    } finally {
      await handle.close()
    }
  }

  text(path: string): Promise<string | null> {
    return readText(this, path)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  /** The real file, or null if there is none. */
  async #resolve(path: string): Promise<string | null> {
    this.signal?.throwIfAborted()
    checkPath(path)
    const real = await realpath(join(this.#root, path)).catch(() => null)
    if (real === null) return null
    if (this.#roots.some((root) => real.startsWith(root + sep))) return real
    throw new SourceError(
      `${path} is a link that leads out of the folder ${this.name}; put the file itself there.`,
    )
  }
}
