/**
 * Stands in for the ONNX runtimes and for sharp inside @huggingface/transformers, of which
 * only tokenizers are used: the library must not bring a second runtime (27 MB) along.
 * The Vite plugin `noRuntime` puts it there.
 */

function refuse(): never {
  throw new Error('Text is tokenised without a runtime; models run in the stage worker.')
}

/** Without it, the library doesn't look for WebAssembly files. */
export const env = undefined
export const InferenceSession = { create: refuse }
export const Tensor = class {
  readonly data = refuse()
}
export default refuse
