/** Loads the WASM runtime in a browser, late: 14 MB that many devices never need. */
import moduleUrl from 'onnxruntime-web/ort-wasm-simd-threaded.mjs?url'
import wasmUrl from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url'
import { importFactory, startModule, type HeapModule } from './heap-module.ts'

const started = new Map<number, Promise<HeapModule>>()

/**
 * Starts the runtime; once for each number of threads.
 * @param threads more than 1 takes effect only where the page is cross-origin isolated. They
 * load the runtime's own file, never our worker.
 */
export function loadWasmRuntime(threads: number): Promise<HeapModule> {
  const most = self.crossOriginIsolated ? Math.max(1, threads) : 1
  const starting = started.get(most) ?? start(most)
  started.set(most, starting)
  // A failed start (offline, say) may be tried again.
  starting.catch(() => started.delete(most))
  return starting
}

async function start(threads: number): Promise<HeapModule> {
  const here = self.location.href
  const factory = await importFactory(new URL(moduleUrl, here).href)
  return startModule(factory, threads, await compile(new URL(wasmUrl, here)))
}

async function compile(url: URL): Promise<WebAssembly.Module> {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`${url.pathname} answered ${response.status}.`)
  // Servers that call it something else than application/wasm.
  return WebAssembly.compileStreaming(response.clone()).catch(async () =>
    WebAssembly.compile(await response.arrayBuffer()),
  )
}
