/** How large frames of a model may be: what a receiver believes before it allocates. */
import type { BorderTensor, Cache, Manifest } from '../../model-split/manifest.ts'
import { byteLength, dimsFor } from '../stage/tensors.ts'
import { HEADER_BYTES, MAX_ROWS, type FrameHeader, type PayloadRule } from './frame.ts'

/** No tensor payload is larger, whatever a manifest says. */
const MOST_TENSOR_BYTES = 32 * 2 ** 20
/** A token id and its comma in JSON, for vocabularies below ten million. */
const ID_CHARACTERS = 8
/** Where an attempt begins, in JSON. */
const RANGE_CHARACTERS = 24
const ASK_REST = 1024
const ANSWER_BYTES = 1024
const FAULT_BYTES = 64
const LIST_BYTES = 4096

/** For a model that names no longest context. */
const CONTEXT_IF_UNKNOWN = 2 ** 17

/** Longest sequence in tokens that the model allows. */
export function contextOf({ context }: Manifest): number {
  return context > 0 ? context : CONTEXT_IF_UNKNOWN
}

export function cachesOfLayer(manifest: Manifest, layer: number): readonly Cache[] {
  if (layer < 0 || layer >= manifest.layers) return []
  return manifest.segments[layer + 1]?.caches ?? []
}

/** Layers `[from, to)` that have caches. */
export function cachedLayers(
  manifest: Manifest,
  { from, to }: { readonly from: number; readonly to: number },
): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i).filter(
    (layer) => cachesOfLayer(manifest, layer).length > 0,
  )
}

/** Whether rows of these caches can travel apart; a recurrent state is whole or nothing. */
export function hasRowsOnly(caches: readonly Cache[]): boolean {
  return caches.every(({ axis }) => axis !== null)
}

/** Shape of so many rows of a cache of one sequence. */
export function cacheDims({ dims, axis }: Cache, rows: number): number[] {
  const all = dimsFor(dims, { batch: 1, rows: 0, past: rows })
  return axis === null ? all : all.with(axis, rows)
}

/** Payload of a `kv` frame: an attempt per row, then the caches. */
export function kvBytes(caches: readonly Cache[], rows: number): number {
  if (rows === 0) return 0
  return caches.reduce(
    (sum, cache) => sum + byteLength(cache.dtype, cacheDims(cache, rows)),
    rows * 4,
  )
}

/** What follows from a manifest for the wire. */
export interface WireRules {
  /** Border tensors in the order that frames number them. */
  readonly tensors: readonly (readonly [name: string, tensor: BorderTensor])[]
  readonly payload: PayloadRule
  /** The largest frame of all kinds. */
  readonly mostFrameBytes: number
}

export function wireRules(manifest: Manifest): WireRules {
  const tensors = Object.entries(manifest.tensors)
  const context = contextOf(manifest)
  const askBytes = context * ID_CHARACTERS + ASK_REST
  const stateBytes = askBytes + context * RANGE_CHARACTERS
  const exactly = (length: number) => ({ least: length, most: length })
  const hidden = (header: FrameHeader) => {
    const tensor = tensors[header.tensor]?.[1]
    const { rows, position } = header
    if (!tensor || tensor.dtype !== header.dtype) return null
    if (rows < 1 || rows > MAX_ROWS || position + rows > context) return null
    const length = tensorBytes(tensor, rows, position)
    return length > MOST_TENSOR_BYTES ? null : exactly(length)
  }
  const kv = ({ tensor: layer, rows, position }: FrameHeader) => {
    const caches = cachesOfLayer(manifest, layer)
    if (caches.length === 0 || position + rows > context) return null
    if (rows > MAX_ROWS && hasRowsOnly(caches)) return null
    const length = kvBytes(caches, rows)
    return length > MOST_TENSOR_BYTES ? null : exactly(length)
  }
  const layers = Array.from({ length: manifest.layers }, (_, layer) =>
    cachesOfLayer(manifest, layer),
  )
  const largest = Math.max(
    0,
    ...tensors.map(([, t]) => tensorBytes(t, MAX_ROWS, context)),
    ...layers.map((caches) => kvBytes(caches, hasRowsOnly(caches) ? MAX_ROWS : context)),
  )
  return {
    tensors,
    payload(header) {
      if (header.kind === 'hidden') return hidden(header)
      if (header.dtype !== null) return null
      switch (header.kind) {
        case 'ask':
          return { least: 2, most: askBytes }
        case 'answer':
          return { least: 2, most: ANSWER_BYTES }
        case 'fault':
          return { least: 2, most: FAULT_BYTES }
        case 'state':
          return { least: 2, most: stateBytes }
        case 'kv-list':
          return { least: 2, most: LIST_BYTES }
        case 'kv':
          return kv(header)
        default:
          return exactly(0)
      }
    },
    mostFrameBytes:
      HEADER_BYTES +
      Math.max(stateBytes, ANSWER_BYTES, Math.min(largest, MOST_TENSOR_BYTES)),
  }
}

function tensorBytes(tensor: BorderTensor, rows: number, past: number): number {
  return byteLength(tensor.dtype, dimsFor(tensor.dims, { batch: 1, rows, past }))
}
