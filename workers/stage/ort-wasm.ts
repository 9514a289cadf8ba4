/** Loads the WASM runtime in a browser, late: in a chunk of its own. */
import mjs from 'onnxruntime-web/ort-wasm-simd-threaded.mjs?url'
import wasm from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url'
import type { Ort } from './ort-tensors.ts'

/**
 * @param threads more than 1 takes effect only where the page is cross-origin isolated; fixed
 * by the first session of the worker.
 */
export async function loadWasmRuntime(threads: number): Promise<Ort> {
  const ort = await import('onnxruntime-web/wasm')
  // With addresses of their own the runtime's threads do not start our worker again.
  const here = self.location.href
  ort.env.wasm.wasmPaths = {
    mjs: new URL(mjs, here).href,
    wasm: new URL(wasm, here).href,
  }
  ort.env.wasm.numThreads = self.crossOriginIsolated ? threads : 1
  return ort
}
