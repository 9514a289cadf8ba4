import { expect, test } from 'vitest'
import { MemoryModel } from '../source/memory.ts'
import { readConfig, type ModelConfig } from './config.ts'

function read(config: unknown, more: Record<string, string> = {}): Promise<ModelConfig> {
  return readConfig(new MemoryModel({ 'config.json': JSON.stringify(config), ...more }))
}

test('the names that architectures give their numbers', async () => {
  expect(
    await read({
      n_layer: 12,
      n_embd: 768,
      n_head: 12,
      n_positions: 1024,
      vocab_size: 9,
    }),
  ).toMatchObject({
    layers: 12,
    hidden: 768,
    kvHeads: [12],
    headDim: 64,
    context: 1024,
    vocabulary: 9,
    modelType: null,
    eos: [],
  })
})

test('all plausible numbers of KV heads', async () => {
  const heads = { num_attention_heads: 8 }
  expect((await read({ ...heads, num_key_value_heads: 2 })).kvHeads).toEqual([2])
  const both = { ...heads, num_key_value_heads: 4, num_global_key_value_heads: 1 }
  expect((await read(both)).kvHeads).toEqual([4, 1])
  const falcon = { ...heads, num_kv_heads: 8, multi_query: true }
  expect((await read(falcon)).kvHeads).toEqual([8, 1])
  expect((await read({ ...heads, num_key_value_heads: null })).kvHeads).toEqual([8])
  expect((await read({})).kvHeads).toEqual([])
})

test('text_config counts more than what surrounds it', async () => {
  const config = {
    model_type: 'gemma3',
    text_config: { num_hidden_layers: 26, head_dim: 256 },
  }
  expect(await read(config)).toMatchObject({
    modelType: 'gemma3',
    layers: 26,
    headDim: 256,
  })
})

test('the ends come from generation_config.json first', async () => {
  const generation = JSON.stringify({ eos_token_id: [1, 106] })
  const more = { 'generation_config.json': generation }
  expect((await read({ eos_token_id: 1 }, more)).eos).toEqual([1, 106])
  expect((await read({ eos_token_id: 1 })).eos).toEqual([1])
})

test('the license comes from the config or the model card', async () => {
  const card = '---\ntags:\n- onnx\nlicense: apache-2.0\n---\n# Model\nlicense: none\n'
  expect((await read({}, { 'README.md': card })).license).toBe('apache-2.0')
  expect((await read({ license: 'mit' }, { 'README.md': card })).license).toBe('mit')
  expect((await read({}, { 'README.md': '# license: none' })).license).toBe(null)
})

test('nonsense numbers count as not given', async () => {
  const config = { num_hidden_layers: -1, hidden_size: 'x', num_attention_heads: 0.5 }
  expect(await read(config)).toMatchObject({ layers: null, hidden: null, kvHeads: [] })
})

test('what is no JSON object is refused by name', async () => {
  await expect(read([1])).rejects.toThrow(/^config\.json is not a JSON object/)
  await expect(read({}, { 'generation_config.json': '{' })).rejects.toThrow(
    /^generation_config\.json is not JSON/,
  )
  await expect(readConfig(new MemoryModel({}, 'here'))).rejects.toThrow(
    /^here has no config\.json/,
  )
})
