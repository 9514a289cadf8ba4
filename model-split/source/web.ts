/** A model in a folder of a web server that does not list its files. */
import { HttpFiles, type HttpOptions } from './http.ts'
import { WELL_KNOWN, dataNames } from './known.ts'
import { checkPath } from './path.ts'
import { SourceError, readText, type ModelSource } from './source.ts'

/** Asked for at the same time; hubs slow down those who ask more. */
const PARALLEL = 4

export class WebFolder implements ModelSource {
  readonly name: string
  readonly signal: AbortSignal | undefined
  readonly #base: string
  protected readonly files: HttpFiles

  /** @param base address of the folder; a query or fragment is dropped */
  constructor(base: string, options: HttpOptions, name?: string) {
    const url = new URL(base)
    url.search = ''
    url.hash = ''
    this.#base = url.href.endsWith('/') ? url.href : `${url.href}/`
    this.name = name ?? this.#base
    this.signal = options.signal
    this.files = new HttpFiles(options)
  }

  async list(): Promise<string[]> {
    const found = await this.#existing(WELL_KNOWN)
    if (found.length === 0)
      throw new SourceError(
        `There is no model at ${this.name}; give the address of the folder that config.json lies in.`,
      )
    const models = found.filter((path) => path.endsWith('.onnx'))
    return [...found, ...(await this.#existing(models.flatMap(dataNames)))].sort()
  }

  async size(path: string): Promise<number | null> {
    return this.files.size(this.#url(path))
  }

  async read(
    path: string,
    offset: number,
    length: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    return this.files.read(this.#url(path), offset, length)
  }

  text(path: string): Promise<string | null> {
    return readText(this, path)
  }

  close(): Promise<void> {
    return this.files.close()
  }

  #url(path: string): string {
    checkPath(path)
    return this.#base + path.split('/').map(encodeURIComponent).join('/')
  }

  async #existing(paths: readonly string[]): Promise<string[]> {
    const found: string[] = []
    for (let i = 0; i < paths.length; i += PARALLEL) {
      const some = paths.slice(i, i + PARALLEL)
      const sizes = await Promise.all(some.map((path) => this.size(path)))
      found.push(...some.filter((_, k) => sizes[k] !== null))
    }
    return found
  }
}
