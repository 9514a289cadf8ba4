/** The text worker without the worker: tests run it as it ships. */
import type { Manifest } from '../../model-split/manifest.ts'
import { createShardReader } from '../shards/reader.ts'
import type { ShardSource } from '../shards/types.ts'
import { createStreamDecoder } from './decoder.ts'
import type { StreamDecoder } from './decoder.ts'
import { loadTokenizer } from './tokenizer.ts'
import type { TextTokenizer } from './tokenizer.ts'
import type { TextApi } from './types.ts'

/** All of the API but `connect`, which needs a worker. */
export function createTextApi(
  source: () => Promise<ShardSource>,
): Omit<TextApi, 'connect'> {
  let tokenizer: Promise<TextTokenizer> | undefined
  const streams = new Map<number, StreamDecoder>()

  const current = () => {
    if (tokenizer === undefined)
      return Promise.reject(new Error('No model is open; choose one first.'))
    return tokenizer
  }
  return {
    async open(url) {
      tokenizer = source().then((from) => open(url, from))
      return { template: (await tokenizer).template }
    },
    async encode(messages) {
      return (await current()).encode(messages)
    },
    async push(stream, ids) {
      const text = await current()
      const decoder =
        streams.get(stream) ?? createStreamDecoder((part) => text.decode(part))
      streams.set(stream, decoder)
      return decoder.push(ids)
    },
    finish(stream) {
      const rest = streams.get(stream)?.finish() ?? ''
      streams.delete(stream)
      return Promise.resolve(rest)
    },
  }
}

async function open(url: string, source: ShardSource): Promise<TextTokenizer> {
  const manifest = await source.manifest(url)
  if (manifest === undefined)
    throw new Error(`The model at ${url} is not on this device; download it first.`)
  const reader = createShardReader({ manifest, source })
  const has = new Set(manifest.files.map((file) => file.file))
  return loadTokenizer(idOf(manifest), async (name) =>
    has.has(name) ? new TextDecoder().decode(await reader.file(name)) : undefined,
  )
}

/** Equal only where the files that make up a tokenizer are. */
function idOf({ files }: Manifest): string {
  const own = files.filter(({ file }) => /^(tokenizer|chat_template)/.test(file))
  return `choir/${own.map(({ sha256 }) => sha256.slice(0, 20)).join('')}`
}
