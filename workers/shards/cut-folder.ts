/** Addresses inside a cut folder. */
import type { Manifest } from '../../model-split/manifest.ts'
import type { WantedFile } from './download.ts'
import { ShardError } from './errors.ts'

/**
 * The folder's absolute URL, ending in '/': also the key of the model in the store.
 * @param base what a relative address refers to.
 */
export function folderUrl(url: string, base: string | undefined): string {
  const folder = parseUrl(url, base)
  if (folder === null || !/^https?:$/.test(folder.protocol))
    throw new ShardError(
      'bad-model',
      `"${url}" is not the address of a model; it must begin with https://.`,
    )
  folder.hash = ''
  folder.search = ''
  if (!folder.pathname.endsWith('/')) folder.pathname += '/'
  return folder.href
}

/** `URL.parse` is younger than many phones. */
function parseUrl(url: string, base: string | undefined): URL | null {
  try {
    return new URL(url, base)
  } catch {
    return null
  }
}

/** All content addresses that a manifest names. */
export function addressesOf(manifest: Manifest): string[] {
  return [
    ...new Set([
      manifest.graph.sha256,
      manifest.golden.sha256,
      ...manifest.files.map((file) => file.sha256),
      ...Object.keys(manifest.shards),
    ]),
  ]
}

/**
 * What a device that runs these shards needs: they and all small files, each once, small
 * ones first.
 * @throws ShardError `bad-model` for a shard that the manifest doesn't have.
 */
export function wantedFiles(
  manifest: Manifest,
  folder: string,
  shards: readonly string[],
): WantedFile[] {
  const small = [...manifest.files, manifest.graph, manifest.golden].map(
    ({ file, bytes, sha256 }) => ({
      sha256,
      bytes,
      url: new URL(file, folder).href,
      name: file,
    }),
  )
  const large = shards.map((sha256) => {
    const shard = manifest.shards[sha256]
    if (shard === undefined)
      throw new ShardError(
        'bad-model',
        `The model at ${folder} has no shard ${sha256.slice(0, 12)}…; open it again, it has changed.`,
      )
    const file = `shards/${sha256}.bin`
    const name = `shards/${sha256.slice(0, 12)}….bin`
    return { sha256, bytes: shard.bytes, url: new URL(file, folder).href, name }
  })
  const unique = new Map([...small, ...large].map((file) => [file.sha256, file]))
  return [...unique.values()]
}
