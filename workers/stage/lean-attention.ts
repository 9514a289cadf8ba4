/** Finds the attention nodes that `attention.ts` computes; all others stay with the runtime. */
import type { AttentionShape } from './attention.ts'
import { ATTRIBUTE, allFields, fields, NODE, texts } from './onnx-fields.ts'

/** Names of tensors. */
export interface LeanAttention {
  readonly kind: 'attention'
  readonly query: string
  /** Empty: packed into the query. */
  readonly key: string
  readonly value: string
  readonly keys: string
  readonly values: string
  readonly last: string
  /** Empty: positions are not turned. */
  readonly cos: string
  readonly sin: string
  readonly output: string
  /** The same buffers as keys and values. */
  readonly presents: readonly [keys: string, values: string]
  readonly shape: AttentionShape
}

/** What a node may say of itself; anything else may change what it computes. */
const KNOWN = new Set([
  ...['num_heads', 'kv_num_heads', 'scale', 'do_rotary', 'rotary_interleaved'],
  ...['local_window_size', 'softcap', 'smooth_softmax', 'qk_output'],
])
/** Inputs and outputs that `attention.ts` knows. */
const INPUTS = 9
const OUTPUTS = 3

export function attentionOf(node: Uint8Array): LeanAttention | null {
  if (texts(node, NODE.opType)[0] !== 'GroupQueryAttention') return null
  const inputs = texts(node, NODE.input)
  const outputs = texts(node, NODE.output)
  const numbers = new Map<string, number>()
  for (const attribute of fields(node, NODE.attribute)) {
    const [name = ''] = texts(attribute, ATTRIBUTE.name)
    if (!KNOWN.has(name)) return null
    numbers.set(name, numberOf(attribute))
  }
  const is = (name: string): boolean => (numbers.get(name) ?? 0) > 0
  const [query = '', key = '', value = '', keys = '', values = ''] = inputs
  const [last = '', , cos = '', sin = ''] = inputs.slice(5)
  const [output = '', ...presents] = outputs
  const [presentKeys = '', presentValues = ''] = presents
  const heads = numbers.get('num_heads') ?? 0
  const kvHeads = numbers.get('kv_num_heads') ?? 0
  const isPlain =
    [...inputs.slice(INPUTS), ...outputs.slice(OUTPUTS)].every((name) => name === '') &&
    !['local_window_size', 'softcap', 'smooth_softmax', 'qk_output'].some(is) &&
    [query, keys, values, last, presentKeys, presentValues].every(Boolean) &&
    (key === '') === (value === '') &&
    is('do_rotary') === (cos !== '' && sin !== '') &&
    heads > 0 &&
    kvHeads > 0 &&
    heads % kvHeads === 0
  if (!isPlain) return null
  const interleaved = is('rotary_interleaved')
  const shape = { heads, kvHeads, scale: numbers.get('scale') ?? 0, interleaved }
  return {
    kind: 'attention',
    ...{ query, key, value, keys, values, last, cos, sin, output, shape },
    presents: [presentKeys, presentValues],
  }
}

/** Names that it reads. */
export function readsOf(one: LeanAttention): string[] {
  const { query, key, value, keys, values, last, cos, sin } = one
  return [query, key, value, keys, values, last, cos, sin].filter((name) => name !== '')
}

/** An int or a float; negative ints are 0 here. */
function numberOf(attribute: Uint8Array): number {
  for (const { number, value, raw } of allFields(attribute)) {
    if (number === ATTRIBUTE.float)
      return new DataView(raw.buffer, raw.byteOffset + raw.length - 4).getFloat32(0, true)
    if (number === ATTRIBUTE.int) return value < 2 ** 63 ? value : 0
  }
  return 0
}
