import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseManifest } from '../../model-split/manifest.ts'
import type { GpuReport } from '../probe/types.ts'
import { whyNotWebGpu } from './webgpu-fit.ts'

const file = join(
  import.meta.dirname,
  '../../public/models/smollm2-135m-instruct/manifest.json',
)
const q4 = parseManifest(JSON.parse(await readFile(file, 'utf8')))
const half = {
  ...q4,
  segments: q4.segments.map((segment) => ({
    ...segment,
    caches: segment.caches.map((cache) => ({ ...cache, dtype: 'float16' as const })),
  })),
}
const chip: GpuReport = {
  vendor: 'arm',
  architecture: 'valhall',
  fallback: false,
  f16: false,
  maxBufferSize: 2 ** 30,
  maxStorageBufferBindingSize: 2 ** 27,
  maxStorageBuffersPerShaderStage: 8,
}

describe('WebGPU for a model', () => {
  it('is worth trying on a chip that fits', () => {
    expect(whyNotWebGpu(chip, q4, false)).toBeNull()
    expect(whyNotWebGpu({ ...chip, f16: true }, half, false)).toBeNull()
  })

  it.each([
    ['no adapter', null, q4, false, /no graphics chip/],
    ['a software adapter', { ...chip, fallback: true }, q4, false, /emulated/],
    ['no 16 bits', chip, half, true, /16 bits/],
    [
      'small buffers',
      { ...chip, maxStorageBufferBindingSize: 2 ** 20 },
      q4,
      true,
      /large/,
    ],
  ])('is passed over with a sentence: %s', (_, gpu, manifest, forced, why) => {
    const sentence = whyNotWebGpu(gpu, manifest, forced)
    expect(sentence).toMatch(why)
    expect(sentence).toMatch(/^[A-Z].*\.$/)
  })

  it('runs on a software adapter where that is asked for', () => {
    expect(whyNotWebGpu({ ...chip, fallback: true }, q4, true)).toBeNull()
  })
})
