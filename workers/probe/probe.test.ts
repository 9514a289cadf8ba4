import 'fake-indexeddb/auto'
import { describe, expect, it } from 'vitest'
import { TestClock } from '../shards/testing/origin.ts'
import { chooseBundle, probeFeatures } from './probe.ts'
import type { ProbeScope } from './probe.ts'
import type { GpuReport } from './types.ts'

const limits = {
  maxBufferSize: 2 ** 30,
  maxStorageBufferBindingSize: 2 ** 27,
  maxStorageBuffersPerShaderStage: 8,
}
const gpuWith = (adapter: object | null) =>
  ({ requestAdapter: () => Promise.resolve(adapter) }) as unknown as Pick<
    GPU,
    'requestAdapter'
  >
const phone: GpuReport = {
  vendor: 'arm',
  architecture: 'valhall',
  fallback: false,
  f16: true,
  ...limits,
}

/** An origin private file system with one file at a time. */
function opfs(refuse = false) {
  const files = new Set<string>()
  let content = new Uint8Array()
  const handle = {
    write: (bytes: Uint8Array<ArrayBuffer>) => {
      content = bytes.slice()
      return content.byteLength
    },
    read: (bytes: Uint8Array<ArrayBuffer>) => {
      bytes.set(content)
      return content.byteLength
    },
    close: () => undefined,
  }
  const directory = {
    getFileHandle: (name: string) => {
      files.add(name)
      return Promise.resolve({
        createSyncAccessHandle: () =>
          refuse
            ? Promise.reject(new DOMException('private window', 'SecurityError'))
            : Promise.resolve(handle),
      })
    },
    removeEntry: (name: string) => {
      files.delete(name)
      return Promise.resolve()
    },
  }
  return { files, storage: { getDirectory: () => Promise.resolve(directory) } }
}

const probe = (scope: ProbeScope) => probeFeatures(scope, new TestClock())

describe('the probe', () => {
  it('survives a browser that has nothing', async () => {
    expect(await probe({})).toEqual({
      gpu: null,
      jspi: false,
      simd: false,
      threads: false,
      opfs: false,
      indexedDb: false,
      cores: 1,
      bundle: 'wasm',
      reason: 'This browser offers no WebGPU, so the model runs on the processor.',
    })
  })

  it('reports what is there, and leaves nothing behind', async () => {
    const { files, storage } = opfs()
    const info = { vendor: 'arm', architecture: 'valhall', isFallbackAdapter: false }
    const adapter = { limits, info, features: new Set(['shader-f16']) }
    const report = await probe({
      navigator: { gpu: gpuWith(adapter), hardwareConcurrency: 8, storage },
      WebAssembly: Object.assign(Object.create(WebAssembly) as typeof WebAssembly, {
        validate: (bytes: Uint8Array<ArrayBuffer>) => WebAssembly.validate(bytes),
        Suspending: Function,
      }),
      SharedArrayBuffer,
      crossOriginIsolated: true,
      indexedDB,
    })
    expect(report).toEqual({
      gpu: phone,
      jspi: true,
      simd: true,
      threads: true,
      opfs: true,
      indexedDb: true,
      cores: 8,
      bundle: 'jspi',
      reason: 'WebGPU is there, so the model runs on the graphics chip.',
    })
    expect(files.size).toBe(0)
    expect((await indexedDB.databases()).map((each) => each.name)).toEqual([])
  })

  it('takes APIs that refuse as missing', async () => {
    const { files, storage } = opfs(true)
    const denied = () => {
      throw new DOMException('denied', 'SecurityError')
    }
    const report = await probe({
      navigator: { gpu: { requestAdapter: denied }, storage },
      indexedDB: { open: denied, deleteDatabase: denied },
      SharedArrayBuffer,
      crossOriginIsolated: false,
    })
    expect(report).toMatchObject({
      gpu: null,
      opfs: false,
      indexedDb: false,
      threads: false,
    })
    expect(files.size).toBe(0)
  })

  it('does not wait for ever', async () => {
    const clock = new TestClock()
    const never = new Promise<never>(() => undefined)
    const probing = probeFeatures(
      {
        navigator: {
          gpu: { requestAdapter: () => never },
          storage: { getDirectory: () => never },
        },
      },
      clock,
    )
    await new Promise(setImmediate)
    clock.expire()
    expect(await probing).toMatchObject({ gpu: null, opfs: false, bundle: 'wasm' })
  })

  it('reads adapters from before `info`', async () => {
    const adapter = { limits, features: new Set(), isFallbackAdapter: true }
    const { gpu, bundle } = await probe({ navigator: { gpu: gpuWith(adapter) } })
    expect(gpu).toMatchObject({ vendor: '', fallback: true, f16: false })
    expect(bundle).toBe('wasm')
  })

  it.each([
    [phone, true, 'jspi'],
    [phone, false, 'webgpu'],
    [null, true, 'wasm'],
    [{ ...phone, fallback: true }, true, 'wasm'],
  ])('chooses the bundle (%#)', (gpu, jspi, bundle) => {
    expect(chooseBundle(gpu, jspi).bundle).toBe(bundle)
  })
})
