/** The runtime's own module file, which the package exports without types. */
declare module 'onnxruntime-web/ort-wasm-simd-threaded.mjs' {
  const factory: import('./heap-module.ts').HeapFactory
  export default factory
}
