/** Writes weights as content-addressed shards; holds two shards in memory at most. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MAX_SHARD_BYTES, type Manifest } from '../manifest.ts'
import { readTensorPart } from '../onnx/read.ts'
import type { ModelSource } from '../source/source.ts'
import { hash } from '../run/folder.ts'
import type { BlobPlan } from './weights.ts'

export async function writeShards(
  source: ModelSource,
  folder: string,
  plans: readonly BlobPlan[],
  onBlob: (done: number, all: number) => void,
): Promise<Pick<Manifest, 'blobs' | 'shards'>> {
  await mkdir(join(folder, 'shards'), { recursive: true })
  const blobs: Manifest['blobs'] = {}
  const shards: Manifest['shards'] = {}
  for (const [i, plan] of plans.entries()) {
    onBlob(i, plans.length)
    const names: string[] = []
    let shard = new Uint8Array(Math.min(plan.blob.bytes, MAX_SHARD_BYTES))
    let filled = 0
    const flush = async (): Promise<void> => {
      const name = hash(shard)
      await writeFile(join(folder, 'shards', `${name}.bin`), shard)
      shards[name] = { bytes: shard.length }
      names.push(name)
      const written = names.length * MAX_SHARD_BYTES
      shard = new Uint8Array(
        Math.max(0, Math.min(plan.blob.bytes - written, MAX_SHARD_BYTES)),
      )
      filled = 0
    }
    for (const { tensor, offset } of plan.tensors) {
      // The gap before an aligned tensor stays zero.
      let gap = offset - (names.length * MAX_SHARD_BYTES + filled)
      let at = 0
      while (at < tensor.bytes || gap > 0) {
        const room = shard.length - filled
        const skip = Math.min(gap, room)
        filled += skip
        gap -= skip
        const part = gap > 0 ? 0 : Math.min(tensor.bytes - at, shard.length - filled)
        shard.set(await readTensorPart(source, tensor, at, part), filled)
        filled += part
        at += part
        if (filled === MAX_SHARD_BYTES) await flush()
        else if (part === 0 && skip === 0) break
      }
    }
    if (filled > 0) await flush()
    blobs[plan.id] = { ...plan.blob, shards: names }
  }
  return { blobs, shards }
}
