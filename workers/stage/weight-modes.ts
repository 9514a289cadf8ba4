/** Forms of weights: what is fastest where, and how many bytes they take. */
import type { Manifest } from '../../model-split/manifest.ts'
import { blobsOf, type Span } from '../../model-split/span.ts'
import type { EngineKind, WeightMode } from './types.ts'

/** Fastest first. WASM has no fast kernel for packed weights, WebGPU has. */
export function modesOf(kind: EngineKind): readonly WeightMode[] {
  return kind === 'webgpu' ? ['packed', 'lean', 'dense'] : ['lean', 'dense', 'packed']
}

/** Weight bytes of spans, without those that other spans brought already. */
export function addedBytes(
  manifest: Manifest,
  mode: WeightMode,
  spans: readonly Span[],
  there: readonly Span[],
): number {
  const held = new Set(there.flatMap((span) => blobsOf(manifest, span)))
  const blobs = new Set(spans.flatMap((span) => blobsOf(manifest, span)))
  let bytes = 0
  for (const id of blobs)
    if (!held.has(id)) bytes += manifest.blobs[id]?.resident[mode] ?? 0
  return bytes
}
