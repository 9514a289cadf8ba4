/** Which files of ONNX Runtime an engine loads; the build gives them their hashed names. */
import asyncifyWasm from 'onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url'
import jspiWasm from 'onnxruntime-web/ort-wasm-simd-threaded.jspi.wasm?url'
import plainMjs from 'onnxruntime-web/ort-wasm-simd-threaded.mjs?url'
import plainWasm from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url'

/** `wasm`; or WebGPU with the browser's own stack switching (`jspi`) or without. */
export type RuntimeBundle = 'wasm' | 'jspi' | 'asyncify'

/** The WebGPU bundles carry their scripts inside. */
const FILES: Record<RuntimeBundle, readonly string[]> = {
  wasm: [plainMjs, plainWasm],
  jspi: [jspiWasm],
  asyncify: [asyncifyWasm],
}

/** Absolute URLs. */
export function runtimeFiles(bundle: RuntimeBundle, base: string): string[] {
  return FILES[bundle].map((file) => new URL(file, base).href)
}
