/** Whether WebGPU is worth trying for a model, before the runtime is fetched for it. */
import type { Manifest } from '../../model-split/manifest.ts'
import type { GpuReport } from '../probe/types.ts'

/**
 * @param forced a software adapter will do as well.
 * @returns one sentence why not, or null.
 */
export function whyNotWebGpu(
  gpu: GpuReport | null,
  manifest: Manifest,
  forced: boolean,
): string | null {
  if (!gpu)
    return 'This browser offers no graphics chip, so the model runs on the processor.'
  if (gpu.fallback && !forced)
    return 'The graphics chip is only emulated here, so the model runs on the processor directly.'
  if (usesHalf(manifest) && !gpu.f16)
    return 'The graphics chip does not compute in 16 bits as this model does, so it runs on the processor.'
  if (largestTensor(manifest) > gpu.maxStorageBufferBindingSize)
    return 'A part of this model is too large for the graphics chip, so it runs on the processor.'
  return null
}

export function usesHalf({ tensors, blobs, segments }: Manifest): boolean {
  return [
    ...Object.values(tensors),
    ...Object.values(blobs).flatMap((blob) => blob.tensors),
    ...segments.flatMap(({ caches }) => caches),
  ].some(({ dtype }) => dtype === 'float16')
}

/** Bytes. */
function largestTensor({ blobs }: Manifest): number {
  const sizes = Object.values(blobs).flatMap(({ tensors }) =>
    tensors.map(({ bytes }) => bytes),
  )
  return sizes.reduce((most, bytes) => Math.max(most, bytes), 0)
}
