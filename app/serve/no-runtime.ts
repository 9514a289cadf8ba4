/** Keeps a second copy of ONNX Runtime out of the build. */
import type { Plugin } from 'vite'

const RUNTIMES = /^(?:onnxruntime-(?:web|common|node)(?:\/.*)?|sharp)$/
const IMPORTER = /[\\/]node_modules[\\/]@huggingface[\\/]transformers[\\/]/

/**
 * Only the tokenizer of `@huggingface/transformers` is used, yet the package imports a whole
 * runtime. What it asks for is replaced by a stub.
 * @param stub absolute path of the stub module.
 */
export function noRuntime(stub: string): Plugin {
  return {
    name: 'choir:no-runtime',
    enforce: 'pre',
    resolveId(source, importer) {
      return importer && RUNTIMES.test(source) && IMPORTER.test(importer) ? stub : null
    },
  }
}
