/** Where an exported model is read from: a folder, a hub repository or a web address. */

/**
 * The files of one exported model. Paths are relative to the model's folder, with `/`
 * between the parts; a path that leaves the folder is refused with a SourceError.
 */
export interface ModelSource {
  /** What a person would call it: the folder's name, the hub id or the address. */
  readonly name: string
  /** Paths of the files that are there (where a server lists none: the well-known ones). */
  list(): Promise<string[]>
  /** Size in bytes, or null if there is no such file. */
  size(path: string): Promise<number | null>
  /** Exactly `length` bytes from `offset`; throws SourceError where the file is shorter. */
  read(path: string, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>
  /** A whole (small) text file, or null if there is no such file. */
  text(path: string): Promise<string | null>
  /** Removes what was kept for reading (temporary files). */
  close(): Promise<void>
  readonly signal?: AbortSignal | undefined
}

/** A file cannot be read; the message is one sentence for people. */
export class SourceError extends Error {
  override readonly name = 'SourceError'
}

/** The longest text that is read whole, in bytes; tokenizers take up to 40 MB. */
export const LONGEST_TEXT = 128 * 2 ** 20

/** A whole text file of the source, or null if there is none. */
export async function readText(
  source: ModelSource,
  path: string,
): Promise<string | null> {
  const size = await source.size(path)
  if (size === null) return null
  if (size > LONGEST_TEXT)
    throw new SourceError(`${path} has ${size} bytes, too many for a text file.`)
  return new TextDecoder().decode(await source.read(path, 0, size))
}
