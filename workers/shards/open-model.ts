/** The manifest of a cut folder: from the network, or as it was kept. */
import { parseManifest } from '../../model-split/manifest.ts'
import type { Manifest } from '../../model-split/manifest.ts'
import { within } from './clock.ts'
import { addressesOf } from './cut-folder.ts'
import type { Network } from './download.ts'
import { ShardError, shardErrorCode } from './errors.ts'
import type { ShardStore } from './store.ts'

/** No manifest is larger. */
const MAX_MANIFEST_BYTES = 32 * 2 ** 20
/** With a stored manifest at hand, the network gets no longer than this. */
export const SHORT_MS = 4_000
const LONG_MS = 30_000

/**
 * Network first; the stored manifest where the network fails, is slow or sends something
 * else (a login page).
 * @param folder absolute, ending in '/'.
 * @throws ShardError where there is neither.
 */
export async function openModel(
  folder: string,
  store: ShardStore,
  network: Network,
): Promise<Manifest> {
  const stored = await storedManifest(folder, store)
  try {
    const json = await fetchManifest(
      folder,
      network,
      stored === undefined ? LONG_MS : SHORT_MS,
    )
    const manifest = readManifest(json, folder)
    await keep(folder, manifest, json, store)
    return manifest
  } catch (error) {
    if (stored !== undefined) return stored
    throw error
  }
}

/** What is kept of a folder; undefined also where it can't be read any more. */
export async function storedManifest(
  folder: string,
  store: ShardStore,
): Promise<Manifest | undefined> {
  const model = await store.model(folder)
  try {
    return model && readManifest(model.json, folder)
  } catch {
    return undefined
  }
}

async function keep(
  folder: string,
  manifest: Manifest,
  json: string,
  store: ShardStore,
): Promise<void> {
  const addresses = addressesOf(manifest)
  try {
    await store.saveModel({ url: folder, name: manifest.model.name, json, addresses })
  } catch (error) {
    // A full disk is told when weights are to be stored; what is stored may still run.
    if (shardErrorCode(error) !== 'full') throw error
  }
}

function readManifest(json: string, folder: string): Manifest {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (cause) {
    throw new ShardError(
      'bad-model',
      `There is no cut model at ${folder}: its manifest.json is not JSON; check the address.`,
      { cause },
    )
  }
  try {
    return parseManifest(value)
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    throw new ShardError('bad-model', message, { cause })
  }
}

async function fetchManifest(
  folder: string,
  network: Network,
  milliseconds: number,
): Promise<string> {
  const connection = new AbortController()
  try {
    const work = receiveText(folder, network, connection.signal)
    return await within(network.clock, milliseconds, work)
  } catch (cause) {
    if (cause instanceof ShardError) throw cause
    throw new ShardError(
      'network',
      `The model at ${folder} can't be reached; check the connection and try again.`,
      { cause },
    )
  } finally {
    connection.abort()
  }
}

async function receiveText(
  folder: string,
  network: Network,
  signal: AbortSignal,
): Promise<string> {
  const url = new URL('manifest.json', folder).href
  const response = await network.fetch(url, { signal, cache: 'no-cache' })
  if (!response.ok || response.body === null)
    throw new ShardError(
      response.status >= 500 ? 'network' : 'not-found',
      `There is no cut model at ${folder} (the server answered ${response.status}); check the address.`,
    )
  const decoder = new TextDecoder()
  const reader = response.body.getReader()
  let text = ''
  for (let bytes = 0; ;) {
    const part = await reader.read()
    if (part.done) return text + decoder.decode()
    bytes += part.value.byteLength
    if (bytes > MAX_MANIFEST_BYTES)
      throw new ShardError(
        'bad-model',
        `The manifest.json at ${folder} is larger than 32 MB; this is not a cut model.`,
      )
    text += decoder.decode(part.value, { stream: true })
  }
}
