/** What a device can do, felt for and not assumed. */

/** Which onnxruntime-web bundle runs here: `/wasm`, `/webgpu` (asyncify) or `/jspi`. */
export type RuntimeBundle = 'wasm' | 'webgpu' | 'jspi'

export interface GpuReport {
  readonly vendor: string
  readonly architecture: string
  /** A software adapter: right, but slower than WASM. */
  readonly fallback: boolean
  /** Half-precision in shaders. */
  readonly f16: boolean
  /** Largest buffer, bytes. */
  readonly maxBufferSize: number
  /** Largest buffer that a shader may bind, bytes: no single weight may be larger. */
  readonly maxStorageBufferBindingSize: number
  readonly maxStorageBuffersPerShaderStage: number
}

export interface FeatureReport {
  /** Null: no adapter that can be used. */
  readonly gpu: GpuReport | null
  /** WebAssembly can wait for promises (JSPI). */
  readonly jspi: boolean
  readonly simd: boolean
  /** WASM threads: shared memory and an isolated page. */
  readonly threads: boolean
  /** Files with synchronous reads (flash mode). */
  readonly opfs: boolean
  /** Without it, shards live in memory. */
  readonly indexedDb: boolean
  readonly cores: number
  readonly bundle: RuntimeBundle
  /** Why that bundle, in one sentence. */
  readonly reason: string
}

/** What only the page knows. */
export interface DeviceHints {
  readonly userAgent: string
  /** navigator.maxTouchPoints; missing in workers. */
  readonly touchPoints: number
  /** navigator.deviceMemory in GiB, Chromium only. */
  readonly deviceMemory: number | null
}

export interface MemoryReport {
  /** Bytes that could be had at once, up to the cap. */
  readonly grown: number
  readonly cap: number
  /** Bytes that weights and caches may take. */
  readonly budget: number
}

/** Exposed over comlink by workers/probe/probe.worker.ts; terminate it after use. */
export interface ProbeApi {
  features(): Promise<FeatureReport>
  memory(hints: DeviceHints): MemoryReport
}
