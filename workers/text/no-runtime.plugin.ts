/** The Vite plugin that keeps the tokenizer library from bringing a runtime along. */

const RUNTIMES = /^(onnxruntime-(web|node|common|react-native)(\/.*)?|sharp|@img\/.*)$/
const LIBRARY = /[\\/]@huggingface[\\/]transformers[\\/]/

/**
 * Maps runtimes to `no-runtime.ts` where @huggingface/transformers imports them; the stage's
 * own imports stay. To be named in `plugins` and in `worker.plugins`, with the library in
 * `optimizeDeps.exclude` so that the dev server resolves it through plugins as well.
 * @param stub absolute path of no-runtime.ts.
 */
export function withoutRuntime(stub: string) {
  return {
    name: 'choir-without-runtime',
    enforce: 'pre' as const,
    resolveId(source: string, importer: string | undefined): string | undefined {
      if (importer === undefined || !LIBRARY.test(importer)) return undefined
      return RUNTIMES.test(source) ? stub : undefined
    },
  }
}
