/** Decides what a person means by the name of a model. */
import { stat } from 'node:fs/promises'
import { openFolder } from './folder.ts'
import { DEFAULT_HUB, HubRepository, parseHubId } from './hub.ts'
import type { Sleep } from './sleep.ts'
import { SourceError, type ModelSource } from './source.ts'
import { WebFolder } from './web.ts'

export interface SourceOptions {
  /** Hub to read ids from; default: the variable CHOIR_HUB, else https://huggingface.co. */
  readonly hub?: string | undefined
  readonly signal?: AbortSignal | undefined
  /** Waits between tries; given so that tests need not wait. */
  readonly sleep?: Sleep
}

/**
 * Opens a folder, a hub id `org/name[@revision]` or the web address of a folder. A folder of
 * that name counts before a hub id.
 * @throws SourceError where the name can mean none of these
 */
export async function openSource(
  spec: string,
  options: SourceOptions = {},
): Promise<ModelSource> {
  const { signal } = options
  const hub = options.hub ?? process.env['CHOIR_HUB'] ?? DEFAULT_HUB
  if (!/^https?:\/\//.test(hub) || !URL.canParse(hub))
    throw new SourceError(`"${hub}" is not the web address of a hub.`)
  if (/^https?:\/\//i.test(spec)) {
    if (!URL.canParse(spec)) throw new SourceError(`"${spec}" is not a web address.`)
    const page = hubPage(spec, hub)
    return page ? new HubRepository(hub, page, options) : new WebFolder(spec, options)
  }
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(spec))
    throw new SourceError(`"${spec}" is an address that models cannot be read from.`)
  const isThere = await stat(spec).catch(() => null)
  if (isThere) return openFolder(spec, signal)
  const id = parseHubId(spec)
  if (id) return new HubRepository(hub, id, options)
  throw new SourceError(
    `There is no folder "${spec}", and it is not a hub id like "org/name" either.`,
  )
}

/** The repository whose page on the hub this is. */
function hubPage(spec: string, hub: string): ReturnType<typeof parseHubId> {
  const url = new URL(spec)
  if (url.origin !== new URL(hub).origin) return null
  const match = /^\/([^/]+\/[^/]+)(?:\/tree\/([^/]+))?\/?$/.exec(url.pathname)
  if (!match?.[1]) return null
  return parseHubId(match[2] ? `${match[1]}@${decodeURIComponent(match[2])}` : match[1])
}
