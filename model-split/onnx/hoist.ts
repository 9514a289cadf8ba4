/** Large tensors leave their node or subgraph and become initialisers of the model's graph. */
import { nodeProto } from '../link/wire.ts'
import { SMALL } from './tensor.ts'
import type { OnnxNode, OnnxTensor } from './types.ts'

export class Hoisted {
  readonly tensors = new Map<string, OnnxTensor>()

  /**
   * Takes the tensor out of a subgraph.
   * @returns a node for the subgraph that gives it its old name there; two branches may use
   *   one name for different tensors, so the outer name is a new one
   */
  take(name: string, tensor: OnnxTensor): OnnxNode {
    let outer = `${name}/hoisted`
    for (let n = 1; this.tensors.has(outer); n++) outer = `${name}/hoisted_${n}`
    this.tensors.set(outer, { ...tensor, name: outer })
    const parts = { opType: 'Identity', inputs: [outer], outputs: [name] }
    return {
      ...parts,
      name: '',
      domain: '',
      attributes: new Map(),
      captured: [],
      bytes: nodeProto(parts),
    }
  }
}

/** Whether a tensor must not stay where it is: too large, or not in the model file at all. */
export function mustLeave(tensor: OnnxTensor): boolean {
  return tensor.bytes > SMALL || tensor.data.kind === 'file'
}
