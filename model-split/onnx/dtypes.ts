import type { Dtype } from '../manifest.ts'
import type { OnnxModel } from './types.ts'

/** Element types of the graph's tensors by name; a tensor of unknown type is absent. */
export function inferDtypes(model: OnnxModel): Map<string, Dtype> {
  throw new Error(`not yet: ${model.file}`)
}
