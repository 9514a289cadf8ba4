/**
 * Feels for every API before anything relies on it. Each is missing in one phone's browser or
 * another, and some are there but refuse (private windows, blocked drivers).
 */
import { within } from '../shards/clock.ts'
import type { Clock } from '../shards/clock.ts'
import type { FeatureReport, GpuReport, RuntimeBundle } from './types.ts'

/** What is used of the origin private file system; the sync handle is for workers only. */
export interface ProbeDirectory {
  getFileHandle(
    name: string,
    options: { readonly create: true },
  ): Promise<{
    createSyncAccessHandle?(): Promise<{
      write(bytes: Uint8Array<ArrayBuffer>, options: { readonly at: number }): number
      read(bytes: Uint8Array<ArrayBuffer>, options: { readonly at: number }): number
      close(): void
    }>
  }>
  removeEntry(name: string): Promise<void>
}

/** A worker's global scope, any part of which may be missing. */
export interface ProbeScope {
  readonly navigator?: {
    readonly gpu?: Pick<GPU, 'requestAdapter'>
    readonly hardwareConcurrency?: number
    readonly storage?: {
      readonly getDirectory?: () => Promise<ProbeDirectory>
    }
  }
  readonly WebAssembly?: {
    readonly validate: (bytes: Uint8Array<ArrayBuffer>) => boolean
  }
  readonly SharedArrayBuffer?: unknown
  readonly crossOriginIsolated?: boolean
  readonly indexedDB?: Pick<IDBFactory, 'open' | 'deleteDatabase'>
}

/** Drivers and storage sometimes never answer. */
const PATIENCE_MS = 4_000

/** A module whose one function uses v128: `i32.const 0; i8x16.splat; i8x16.popcnt; drop`. */
const SIMD_MODULE = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0],
  ...[10, 11, 1, 9, 0, 65, 0, 253, 15, 253, 98, 26, 11],
)

export async function probeFeatures(
  scope: ProbeScope,
  clock: Clock,
): Promise<FeatureReport> {
  const { navigator = {}, WebAssembly: wasm } = scope
  const feel = <T>(work: () => Promise<T>, otherwise: T): Promise<T> =>
    within(clock, PATIENCE_MS, attempt(work)).catch(() => otherwise)
  const [gpu, opfs, indexedDb] = await Promise.all([
    probeGpu(navigator.gpu, clock),
    feel(() => feelOpfs(navigator.storage), false),
    feel(() => feelIndexedDb(scope.indexedDB), false),
  ])
  const jspi = wasm !== undefined && 'Suspending' in wasm
  return {
    gpu,
    jspi,
    simd: wasm?.validate(SIMD_MODULE) ?? false,
    threads: scope.SharedArrayBuffer !== undefined && scope.crossOriginIsolated === true,
    opfs,
    indexedDb,
    cores: Math.max(1, navigator.hardwareConcurrency ?? 1),
    ...chooseBundle(gpu, jspi),
  }
}

/** A synchronous throw becomes a rejection as well. */
async function attempt<T>(work: () => Promise<T>): Promise<T> {
  return work()
}

/** The webgpu bundles lack CPU kernels, so without a real GPU it is the plain one. */
export function chooseBundle(
  gpu: GpuReport | null,
  jspi: boolean,
): { readonly bundle: RuntimeBundle; readonly reason: string } {
  if (gpu === null)
    return {
      bundle: 'wasm',
      reason: 'This browser offers no WebGPU, so the model runs on the processor.',
    }
  if (gpu.fallback)
    return {
      bundle: 'wasm',
      reason:
        'WebGPU is emulated in software here, so the model runs on the processor directly.',
    }
  return {
    bundle: jspi ? 'jspi' : 'webgpu',
    reason: 'WebGPU is there, so the model runs on the graphics chip.',
  }
}

/** Null: no adapter that can be used; also where the driver does not answer in time. */
export function probeGpu(
  gpu: Pick<GPU, 'requestAdapter'> | undefined,
  clock: Clock,
): Promise<GpuReport | null> {
  return within(
    clock,
    PATIENCE_MS,
    attempt(() => feelGpu(gpu)),
  ).catch(() => null)
}

async function feelGpu(gpu: Pick<GPU, 'requestAdapter'> | undefined) {
  // Older Safari gives undefined where the specification says null.
  const adapter = (await gpu?.requestAdapter()) ?? null
  if (adapter === null) return null
  const { limits, features } = adapter
  // `info` is younger than WebGPU; `isFallbackAdapter` moved there from the adapter.
  const { info, isFallbackAdapter } = adapter as Partial<GPUAdapter> & {
    readonly isFallbackAdapter?: boolean
  }
  return {
    vendor: info?.vendor ?? '',
    architecture: info?.architecture ?? '',
    fallback:
      (info as Partial<GPUAdapterInfo> | undefined)?.isFallbackAdapter ??
      isFallbackAdapter ??
      false,
    f16: features.has('shader-f16'),
    maxBufferSize: limits.maxBufferSize,
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
  }
}

type StoragePart = NonNullable<NonNullable<ProbeScope['navigator']>['storage']>

/** Writes and reads one byte: private windows have the API and refuse the file. */
async function feelOpfs(storage: StoragePart | undefined): Promise<boolean> {
  const directory = await storage?.getDirectory?.()
  if (directory === undefined) return false
  const name = `choir-probe-${Math.random().toString(36).slice(2)}`
  const file = await directory.getFileHandle(name, { create: true })
  try {
    const handle = await file.createSyncAccessHandle?.()
    if (handle === undefined) return false
    try {
      const byte = Uint8Array.of(7)
      handle.write(byte, { at: 0 })
      byte[0] = 0
      return handle.read(byte, { at: 0 }) === 1 && byte[0] === 7
    } finally {
      handle.close()
    }
  } finally {
    await directory.removeEntry(name)
  }
}

function feelIndexedDb(factory: ProbeScope['indexedDB']): Promise<boolean> {
  return new Promise((resolve, reject) => {
    if (factory === undefined) {
      resolve(false)
      return
    }
    const name = 'choir-probe'
    const request = factory.open(name, 1)
    request.onerror = () => {
      reject(request.error ?? new Error('IndexedDB refused.'))
    }
    request.onsuccess = () => {
      request.result.close()
      const removal = factory.deleteDatabase(name)
      removal.onsuccess =
        removal.onerror =
        removal.onblocked =
          () => {
            resolve(true)
          }
    }
  })
}
