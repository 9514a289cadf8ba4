/** A model in a hub repository, as Hugging Face and its mirrors serve them. */
import * as v from 'valibot'
import type { HttpOptions } from './http.ts'
import { pathFault } from './path.ts'
import { SourceError } from './source.ts'
import { WebFolder } from './web.ts'

export const DEFAULT_HUB = 'https://huggingface.co'
const MOST_PAGES = 50

const listing = v.array(v.object({ type: v.string(), path: v.string() }))

export interface HubId {
  /** `org/name` */
  readonly repository: string
  readonly revision: string
}

/** `org/name` or `org/name@revision`; null for anything else. */
export function parseHubId(spec: string): HubId | null {
  const match = /^(\w[\w.-]*\/\w[\w.-]*)(?:@(\w[\w./-]*))?$/.exec(spec)
  const [, repository, revision = 'main'] = match ?? []
  if (!repository || revision.split('/').includes('..')) return null
  return { repository, revision }
}

export class HubRepository extends WebFolder {
  readonly #tree: string

  /** @param host address of the hub */
  constructor(host: string, { repository, revision }: HubId, options: HttpOptions) {
    const hub = host.replace(/\/+$/, '')
    const at = encodeURIComponent(revision)
    const name = revision === 'main' ? repository : `${repository}@${revision}`
    super(`${hub}/${repository}/resolve/${at}/`, options, name)
    this.#tree = `${hub}/api/models/${repository}/tree/${at}?recursive=true`
  }

  override async list(): Promise<string[]> {
    const found: string[] = []
    let url: string | null = this.#tree
    for (let page = 0; url !== null && page < MOST_PAGES; page++) {
      const answer = await this.files.document(url).catch((error: unknown) => {
        if (!(error instanceof SourceError)) throw error
        throw new SourceError(
          `There is no folder ${this.name} here, and the hub that has models of such names does not answer: ${error.message}`,
          { cause: error },
        )
      })
      if (answer === 401 || answer === 403)
        throw new SourceError(
          `The hub shows ${this.name} to nobody without signing in, or it does not exist; check the name, or download it after signing in and give its folder.`,
        )
      // Mirrors serve the files but not always the listing.
      if (typeof answer === 'number') return super.list()
      const files = parseListing(answer.text)
      if (!files) return super.list()
      found.push(...files)
      url = nextPage(url, answer.next)
    }
    return found.filter((path) => pathFault(path) === null).sort()
  }
}

function parseListing(text: string): string[] | null {
  try {
    const entries = v.parse(listing, JSON.parse(text))
    return entries.filter(({ type }) => type === 'file').map(({ path }) => path)
  } catch {
    return null
  }
}

/** The listing never goes on at another host. */
function nextPage(url: string, next: string | null): string | null {
  if (next === null || !URL.canParse(next, url)) return null
  const page = new URL(next, url)
  return page.origin === new URL(url).origin ? page.href : null
}
