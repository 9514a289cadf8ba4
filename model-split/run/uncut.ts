/** The model as exported, in the same runtime: the reference for every cut. */
import { posix } from 'node:path'
import type { Feed, Manifest } from '../manifest.ts'
import { ModelError } from '../onnx/error.ts'
import { readModel } from '../onnx/read.ts'
import { foldBranches, isMerged, USE_CACHE } from '../cut/branches.ts'
import { findRoles } from '../cut/roles.ts'
import { runtimeError } from '../cut/measure.ts'
import type { ModelSource } from '../source/source.ts'
import { GraphRunner, HEAP_BYTES, type Optimisation } from './runner.ts'

/** @param branch of a merged export: the one with past, or the one for an empty cache. */
export async function openUncut(
  source: ModelSource,
  file: string,
  manifest: Manifest,
  optimisation: Optimisation,
  branch: 'past' | 'empty' = 'past',
): Promise<GraphRunner> {
  const { graph } = await readModel(source, file)
  const outside = new Set<string>()
  for (const { data } of graph.initializers.values())
    if (data.kind === 'file' && data.file !== file) outside.add(data.file)
  const sizes = await Promise.all([file, ...outside].map((path) => source.size(path)))
  const total = sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0)
  if (total > HEAP_BYTES)
    throw new ModelError(
      `The uncut model has ${(total / 2 ** 30).toFixed(1)} GiB, more than one WebAssembly heap holds, so --verify cannot compare with it; cut it without --verify.`,
    )
  const whole = async (path: string): Promise<Uint8Array> =>
    source.read(path, 0, (await source.size(path)) ?? 0)
  const externalData = []
  for (const path of outside)
    externalData.push({
      path: posix.relative(posix.dirname(file), path),
      data: await whole(path),
    })
  const { feeds } = findRoles(foldBranches(graph))
  const chosen: Feed = {
    dtype: 'bool',
    dims: [[1, 0, 0, 0]],
    fill: { kind: 'values', values: [[branch === 'past' ? 1 : 0, 0, 0, 0]] },
  }
  const caches = manifest.segments.flatMap((segment) => segment.caches)
  try {
    return await GraphRunner.open(
      await whole(file),
      {
        feeds: {
          ...Object.fromEntries(feeds),
          ...(isMerged(graph) && { [USE_CACHE]: chosen }),
        },
        caches,
      },
      externalData,
      optimisation,
    )
  } catch (error) {
    throw runtimeError(error)
  }
}
