/** Loads the WebGPU runtime in a browser, late, and opens devices. */
import type { Ort } from './ort-tensors.ts'

export interface WebGpuRuntime {
  readonly ort: Ort
  /** A device with all the adapter's limits; one for each engine. */
  readonly openDevice: () => Promise<GPUDevice>
}

const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupsPerDimension',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
] as const
/**
 * With subgroups of 4 the runtime's attention gives wrong numbers from 32 rows on (1.30); we
 * saw it right only without subgroups. Narrow ones are not worth the risk.
 */
const NARROWEST_SUBGROUP = 16

/** null where the browser has no WebGPU or no adapter for us. Fetches 17 or 27 MB. */
export async function loadWebGpuRuntime(): Promise<WebGpuRuntime | null> {
  const gpu: GPU | undefined = 'gpu' in navigator ? navigator.gpu : undefined
  const adapter = await gpu?.requestAdapter({ powerPreference: 'high-performance' })
  if (!gpu || !adapter) return null
  const ort =
    'Suspending' in WebAssembly
      ? await import('onnxruntime-web/jspi')
      : await import('onnxruntime-web/webgpu')
  // More threads would start this worker's script again in each of them.
  ort.env.wasm.numThreads = 1
  ort.env.logLevel = 'error'
  return { ort, openDevice: () => openDevice(gpu) }
}

/** An adapter gives one device only, so each device begins with a fresh adapter. */
async function openDevice(gpu: GPU): Promise<GPUDevice> {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter) throw new Error('no WebGPU adapter')
  return adapter.requestDevice({
    requiredFeatures: features(adapter),
    requiredLimits: Object.fromEntries(
      LIMITS.map((name) => [name, adapter.limits[name]]),
    ),
  })
}

function features({ features, info }: GPUAdapter): GPUFeatureName[] {
  const wanted: GPUFeatureName[] = ['shader-f16']
  if (info.subgroupMinSize >= NARROWEST_SUBGROUP) wanted.push('subgroups')
  return wanted.filter((feature) => features.has(feature))
}
