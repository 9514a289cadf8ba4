import type { ModelSource } from '../source/source.ts'
import type { OnnxModel, OnnxTensor } from './types.ts'

/** Reads and checks the graph of an ONNX file; weights stay in the files. */
export function readModel(source: ModelSource, path: string): Promise<OnnxModel> {
  throw new Error(`not yet: ${source.name} ${path}`)
}

/** The elements of a tensor, raw and little-endian. */
export function readTensor(source: ModelSource, tensor: OnnxTensor): Promise<Uint8Array> {
  throw new Error(`not yet: ${source.name} ${tensor.name}`)
}
