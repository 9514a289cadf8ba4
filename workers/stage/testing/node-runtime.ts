/** The WASM runtime of the app in Node, with one thread: for tests. */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { importFactory, startModule, type HeapModule } from '../heap-module.ts'

const { resolve } = createRequire(import.meta.url)

export async function nodeRuntime(): Promise<HeapModule> {
  const script = resolve('onnxruntime-web/ort-wasm-simd-threaded.mjs')
  const code = await readFile(resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm'))
  const factory = await importFactory(pathToFileURL(script).href)
  return startModule(factory, 1, await WebAssembly.compile(code))
}
