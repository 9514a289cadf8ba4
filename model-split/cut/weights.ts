/**
 * Sorts the initialisers: small ones stay in the graph, weights go into blobs, one per part;
 * what several parts read gets a blob of its own, so that each span loads it once.
 */
import type { Quantised, WeightBlob, WeightForm } from '../manifest.ts'
import { externalPath } from '../link/paths.ts'
import { externalTensorProto, graphField, tensorProto } from '../link/wire.ts'
import type { OnnxModel, OnnxTensor } from '../onnx/types.ts'
import { denseName, leanNames, type QuantisedNode } from './quantised.ts'

/** Tensors up to this size, in bytes, stay in the graph: shapes, scalars, small norms. */
const INLINE_BYTES = 1024
/** Tensors start at multiples of this, so that SIMD loads and GPU copies are aligned. */
const ALIGNMENT = 64

/** What one part reads. */
export interface PartReads {
  readonly id: string
  /** Initialisers read other than as weights of a quantised node. */
  readonly plain: ReadonlySet<string>
  /** Those of them that anything but a look-up of rows reads. */
  readonly whole: ReadonlySet<string>
  readonly quantised: readonly QuantisedNode[]
  /** Kept in the graph whatever their size (biases that both sides of a border need). */
  readonly inline: ReadonlySet<string>
}

/** Declarations of initialisers, to be put into one piece. */
export interface Declarations {
  readonly id: string
  readonly parts: readonly string[]
  readonly inline: OnnxTensor[]
  readonly blob: string | null
}

export interface BlobPlan {
  readonly id: string
  /** In the order of the bytes. */
  readonly tensors: readonly { readonly tensor: OnnxTensor; readonly offset: number }[]
  readonly blob: Omit<WeightBlob, 'shards'>
  /** Graph fields that declare the blob's tensors, by mode. */
  readonly fields: Record<'common' | WeightForm, Uint8Array[]>
}

export interface WeightPlan {
  readonly declarations: readonly Declarations[]
  readonly blobs: readonly BlobPlan[]
}

export function planWeights(model: OnnxModel, parts: readonly PartReads[]): WeightPlan {
  const users = new Map<string, Set<string>>()
  const plain = new Set<string>()
  const whole = new Set<string>()
  const inline = new Set<string>()
  const nodes = new Map<string, QuantisedNode>()
  for (const part of parts) {
    const use = (name: string): void => {
      const set = users.get(name)
      if (set) set.add(part.id)
      else users.set(name, new Set([part.id]))
    }
    for (const name of part.plain) {
      use(name)
      plain.add(name)
    }
    part.whole.forEach((name) => whole.add(name))
    part.inline.forEach((name) => inline.add(name))
    for (const item of part.quantised) {
      nodes.set(item.q.name, item)
      for (const tensor of weightsOf(item)) use(tensor.name)
    }
  }
  // The parts of one matrix stay together, whoever reads them.
  const matrices = new Set<string>()
  for (const item of nodes.values()) {
    const tensors = weightsOf(item)
    const all = new Set(tensors.flatMap(({ name }) => [...(users.get(name) ?? [])]))
    for (const { name } of tensors) {
      matrices.add(name)
      users.set(name, all)
    }
  }
  const groups = new Map<
    string,
    { parts: string[]; inline: OnnxTensor[]; heavy: OnnxTensor[] }
  >()
  for (const [name, set] of users) {
    const tensor = model.graph.initializers.get(name)
    if (!tensor) continue
    const key = [...set].sort().join('\n')
    const group = groups.get(key) ?? { parts: [...set], inline: [], heavy: [] }
    groups.set(key, group)
    const small =
      !matrices.has(name) && (inline.has(name) || tensor.bytes <= INLINE_BYTES)
    ;(small ? group.inline : group.heavy).push(tensor)
  }
  const declarations: Declarations[] = []
  const blobs: BlobPlan[] = []
  let shared = 0
  for (const group of groups.values()) {
    const [only] = group.parts
    const id =
      group.parts.length === 1 && only !== undefined ? only : `shared.${shared++}`
    const quantised = [...nodes.values()].filter((item) => group.heavy.includes(item.q))
    if (group.heavy.length > 0)
      blobs.push(planBlob(id, group.heavy, quantised, plain, whole))
    declarations.push({
      id,
      parts: group.parts,
      inline: group.inline.sort(byName),
      blob: group.heavy.length > 0 ? id : null,
    })
  }
  return { declarations, blobs }
}

function weightsOf({ q, scales, zeros }: QuantisedNode): OnnxTensor[] {
  return zeros ? [q, scales, zeros] : [q, scales]
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1
}

function align(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT
}

function planBlob(
  id: string,
  heavy: OnnxTensor[],
  nodes: readonly QuantisedNode[],
  plain: ReadonlySet<string>,
  whole: ReadonlySet<string>,
): BlobPlan {
  let bytes = 0
  const tensors = heavy.sort(byName).map((tensor) => {
    const offset = align(bytes)
    bytes = offset + tensor.bytes
    return { tensor, offset }
  })
  const offsets = new Map(tensors.map(({ tensor, offset }) => [tensor.name, offset]))
  const at = (tensor: OnnxTensor): number => offsets.get(tensor.name) ?? 0
  let denseBytes = 0
  let leanBytes = 0
  const fields: BlobPlan['fields'] = { common: [], packed: [], dense: [], lean: [] }
  const declare = (
    form: WeightForm,
    tensor: Omit<OnnxTensor, 'data'>,
    offset: number,
  ): Uint8Array =>
    graphField(
      'initializer',
      externalTensorProto({
        name: tensor.name,
        dtype: tensor.dtype,
        dims: tensor.dims,
        location: externalPath(id, form),
        offset,
        length: tensor.bytes,
      }),
    )
  const quantised: Quantised[] = []
  /** Packed tensors whose rows a lean span looks up in the lean matrix. */
  let lookedUp = 0
  const hidden = { dense: new Set<string>(), lean: new Set<string>() }
  for (const item of [...nodes].sort((a, b) => byName(a.q, b.q))) {
    const { bits, block, k, n, q, scales, zeros } = item
    const dense = align(denseBytes)
    denseBytes = dense + 4 * k * n
    const denseTensor = {
      name: denseName(q),
      dtype: 'float32',
      dims: [k, n],
      bytes: 4 * k * n,
    } as const
    fields.dense.push(declare('dense', denseTensor, dense))
    const exclusive = weightsOf(item).filter(({ name }) => !plain.has(name))
    exclusive.forEach(({ name }) => hidden.dense.add(name))
    let lean: Quantised['lean'] = null
    if (item.canBeLean) {
      const blocks = Math.ceil(k / block)
      const names = leanNames(q)
      lean = { q: align(leanBytes), scales: 0 }
      lean.scales = align(lean.q + k * n)
      leanBytes = lean.scales + 4 * blocks * n
      const weights = {
        name: names.q,
        dtype: 'int8',
        dims: [k, n],
        bytes: k * n,
      } as const
      const factors = {
        name: names.scales,
        dtype: 'float32',
        dims: [blocks, n],
        bytes: 4 * blocks * n,
      } as const
      fields.lean.push(
        declare('lean', weights, lean.q),
        declare('lean', factors, lean.scales),
      )
      exclusive.forEach(({ name }) => hidden.lean.add(name))
      const packed = weightsOf(item)
      if (bits === 8 && packed.every(({ name }) => plain.has(name) && !whole.has(name)))
        lookedUp += packed.reduce((sum, tensor) => sum + tensor.bytes, 0)
    }
    quantised.push({
      name: q.name,
      bits,
      block,
      k,
      n,
      q: at(q),
      scales: at(scales),
      zeros: zeros ? at(zeros) : null,
      dense,
      lean,
    })
  }
  const kept = { packed: 0, dense: 0, lean: 0 }
  for (const { tensor, offset } of tensors) {
    const field = declare('packed', tensor, offset)
    const inDense = !hidden.dense.has(tensor.name)
    const inLean = !hidden.lean.has(tensor.name)
    kept.packed += tensor.bytes
    if (inDense) kept.dense += tensor.bytes
    if (inLean) kept.lean += tensor.bytes
    if (inDense && inLean) fields.common.push(field)
    else {
      fields.packed.push(field)
      if (inDense) fields.dense.push(field)
      if (inLean) fields.lean.push(field)
    }
  }
  const forms = (mode: 'dense' | 'lean', derived: number): WeightForm[] => [
    ...(kept[mode] > 0 ? (['packed'] as const) : []),
    ...(derived > 0 ? [mode] : []),
  ]
  return {
    id,
    tensors,
    fields,
    blob: {
      bytes,
      tensors: tensors.map(({ tensor, offset }) => ({
        name: tensor.name,
        dtype: tensor.dtype,
        dims: [...tensor.dims],
        offset,
        bytes: tensor.bytes,
      })),
      quantised,
      denseBytes,
      leanBytes,
      forms: {
        packed: ['packed'],
        dense: forms('dense', denseBytes),
        lean: forms('lean', leanBytes),
      },
      resident: {
        packed: bytes,
        dense: kept.dense + denseBytes,
        lean: kept.lean - lookedUp + leanBytes,
      },
    },
  }
}

/** The graph field of an initialiser that stays in the graph. */
export function inlineField(tensor: OnnxTensor, raw: Uint8Array): Uint8Array {
  return graphField('initializer', tensorProto({ ...tensor, raw }))
}
