/** A cut model in a local folder. */
import { readFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { parseManifest, type Manifest, type WeightForm } from '../manifest.ts'
import type { CutFiles } from './runner.ts'

export async function readManifest(folder: string): Promise<Manifest> {
  let text: string
  try {
    text = await readFile(join(folder, 'manifest.json'), 'utf8')
  } catch {
    throw new Error(
      `There is no cut model in ${folder}: manifest.json is missing; make one with "npm run split".`,
    )
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw new Error(`${join(folder, 'manifest.json')} is not JSON; cut the model again.`)
  }
  return parseManifest(json)
}

/** Files of the folder, hash-checked when read. */
export function cutFolder(
  folder: string,
  manifest: Manifest,
  graph: Uint8Array,
): CutFiles {
  return {
    manifest,
    graph,
    async blob(id, form: WeightForm) {
      const blob = manifest.blobs[id]
      if (!blob || form !== 'packed')
        throw new Error(`The form ${form} of ${id} is made by a stage.`)
      const bytes = new Uint8Array(blob.bytes)
      let at = 0
      for (const shard of blob.shards) {
        const part = await readChecked(join(folder, 'shards', `${shard}.bin`), shard)
        bytes.set(part, at)
        at += part.length
      }
      return bytes
    },
  }
}

export async function openCutFolder(folder: string): Promise<CutFiles> {
  const manifest = await readManifest(folder)
  const graph = await readChecked(
    join(folder, manifest.graph.file),
    manifest.graph.sha256,
  )
  return cutFolder(folder, manifest, graph)
}

export async function readChecked(file: string, sha256: string): Promise<Uint8Array> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(file)
  } catch {
    throw new Error(`The file ${file} of the cut model is missing; cut the model again.`)
  }
  if (hash(bytes) !== sha256)
    throw new Error(`The file ${file} does not match its SHA-256; cut the model again.`)
  return bytes
}

export function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
