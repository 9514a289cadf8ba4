/** A model whose files are in memory. Counts what is read, so that tests can bound it. */
import { checkPath } from './path.ts'
import { SourceError, readText, type ModelSource } from './source.ts'

export class MemoryModel implements ModelSource {
  readonly name: string
  bytesRead = 0
  readonly #files: ReadonlyMap<string, Uint8Array>

  constructor(files: Readonly<Record<string, Uint8Array | string>>, name = 'memory') {
    this.name = name
    this.#files = new Map(
      Object.entries(files).map(([path, content]) => [
        path,
        typeof content === 'string' ? new TextEncoder().encode(content) : content,
      ]),
    )
  }

  list(): Promise<string[]> {
    return Promise.resolve([...this.#files.keys()].sort())
  }

  size(path: string): Promise<number | null> {
    checkPath(path)
    return Promise.resolve(this.#files.get(path)?.length ?? null)
  }

  read(path: string, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const file = this.#files.get(path)
    if (!file || offset + length > file.length)
      return Promise.reject(new SourceError(`${path} is too short or not there.`))
    this.bytesRead += length
    return Promise.resolve(new Uint8Array(file.subarray(offset, offset + length)))
  }

  text(path: string): Promise<string | null> {
    return readText(this, path)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}
