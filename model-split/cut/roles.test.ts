import { describe, expect, test } from 'vitest'
import type { OnnxGraph, ValueInfo } from '../onnx/types.ts'
import { findRoles } from './roles.ts'

const info = (name: string): ValueInfo => ({
  name,
  dtype: name === 'input_ids' ? 'int64' : 'float32',
  dims: ['batch', 2, 'past', 16],
})
const graph = (inputs: string[], outputs: string[]): OnnxGraph => ({
  nodes: [],
  initializers: new Map(),
  inputs: inputs.map(info),
  outputs: outputs.map(info),
  valueInfo: new Map(),
})
const pairs = (inputs: string[], outputs: string[]): [number, string, string][] =>
  findRoles(graph(['input_ids', ...inputs], ['logits', ...outputs])).caches.map(
    ({ layer, input, output }) => [layer, input.name, output],
  )

describe('caches are paired by what their names share', () => {
  test.each([
    [['past_key_values.0.key'], ['present.0.key']],
    [['past_key_values.0.value'], ['present_key_values.0.value']],
    [['past_key_0'], ['present_key_0']],
    [['past_conv.0'], ['present_conv.0']],
    [['past_ssm_states.0'], ['present_ssm_states.0']],
    [['cache_k_0_in'], ['cache_k_0_out']],
  ])('%s', (inputs, outputs) => {
    expect(pairs(inputs, outputs)).toEqual([[0, inputs[0], outputs[0]]])
  })

  test('all kinds together count the layers', () => {
    const names = ['conv.0', 'key.1', 'conv.2']
    const found = pairs(
      names.map((name) => `past_${name}`),
      names.map((name) => `present_${name}`),
    )
    expect(found.map(([layer]) => layer)).toEqual([0, 1, 2])
  })

  test('other outputs of every layer are no caches', () => {
    const more = [
      'hidden_states.0',
      'hidden_states.1',
      'attentions.0',
      'last_hidden_state',
    ]
    expect(pairs(['past.0.key'], ['present.0.key', ...more])).toHaveLength(1)
  })

  test('one side without the other is refused', () => {
    expect(() => pairs(['past.0.key', 'past.0.value'], ['present.0.key'])).toThrow(
      /cache input past\.0\.value has no matching output/,
    )
    expect(() => pairs(['past.0.key'], ['present.0.key', 'kv.1.key'])).toThrow(
      /cache output kv\.1\.key has no matching input/,
    )
  })
})
