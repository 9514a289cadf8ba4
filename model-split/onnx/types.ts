/** An ONNX model as the cutter sees it: the graph in memory, the weights left in the files. */
import type { Dtype } from '../manifest.ts'

export interface OnnxModel {
  /** Path of the model file in its source. */
  readonly file: string
  readonly irVersion: number
  readonly opsets: readonly { readonly domain: string; readonly version: number }[]
  /** Serialized FunctionProtos. */
  readonly functions: readonly Uint8Array[]
  /** Serialized ModelProto fields of a linked model: IR version, opset imports, functions. */
  readonly header: Uint8Array
  readonly graph: OnnxGraph
}

export interface OnnxGraph {
  /** In file order, which need not be topological. */
  readonly nodes: readonly OnnxNode[]
  /** Constants larger than 1 KB are here too, named after their output. */
  readonly initializers: ReadonlyMap<string, OnnxTensor>
  /** Inputs that are not initialisers. */
  readonly inputs: readonly ValueInfo[]
  readonly outputs: readonly ValueInfo[]
  readonly valueInfo: ReadonlyMap<string, ValueInfo>
}

export interface OnnxNode {
  readonly name: string
  readonly opType: string
  /** '' for the standard operators. */
  readonly domain: string
  /** May contain '' for an optional input that is left out. */
  readonly inputs: readonly string[]
  /** May contain '' for an optional output that is left out. */
  readonly outputs: readonly string[]
  readonly attributes: ReadonlyMap<string, Attribute>
  /** Outer names that the node's subgraphs read, at any depth, each once. */
  readonly captured: readonly string[]
  /** The serialized NodeProto as in the file (less large tensors moved out of subgraphs). */
  readonly bytes: Uint8Array
}

/** int64 values beyond 2^53 lose their last digits here; `OnnxNode.bytes` keeps them. */
export type Attribute =
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'tensor'; readonly value: OnnxTensor }
  | { readonly kind: 'graph'; readonly value: OnnxGraph }
  | { readonly kind: 'floats'; readonly value: readonly number[] }
  | { readonly kind: 'ints'; readonly value: readonly number[] }
  | { readonly kind: 'strings'; readonly value: readonly string[] }
  | { readonly kind: 'graphs'; readonly value: readonly OnnxGraph[] }
  /** Anything else: type protos, sparse tensors, string tensors, a function's parameter. */
  | { readonly kind: 'other' }

export interface OnnxTensor {
  readonly name: string
  readonly dtype: Dtype
  readonly dims: readonly number[]
  /** Bytes of the elements in raw little-endian form; int4 and uint4 are two to a byte. */
  readonly bytes: number
  readonly data: TensorData
}

export type TensorData =
  /** Raw little-endian elements in a file of the source. */
  | {
      readonly kind: 'file'
      readonly file: string
      readonly offset: number
      readonly length: number
    }
  /** Small tensors, and those that the file keeps as varints. */
  | { readonly kind: 'inline'; readonly bytes: Uint8Array }

export interface ValueInfo {
  readonly name: string
  /** null: unknown, or not a tensor of a type that Choir reads. */
  readonly dtype: Dtype | null
  /** A name where an axis is symbolic, null where it is unknown; null for no shape at all. */
  readonly dims: readonly (number | string | null)[] | null
}
