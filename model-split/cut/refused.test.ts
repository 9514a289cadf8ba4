/** Sound exports with one thing broken, beyond what lies in folders. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readModel } from '../onnx/read.ts'
import { MemoryModel } from '../source/memory.ts'
import { cutModel } from './cut.ts'

const GOOD = join(import.meta.dirname, '../../e2e/fixtures/models/genai-llama-int4-cpu')
const FILE = 'onnx/model_q4.onnx'
const root = mkdtempSync(join(tmpdir(), 'choir-refused-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

async function refuse(
  change: Readonly<Record<string, Uint8Array | string>>,
  sentence: RegExp,
): Promise<void> {
  const files = {
    [FILE]: new Uint8Array(readFileSync(join(GOOD, FILE))),
    'config.json': readFileSync(join(GOOD, 'config.json'), 'utf8'),
    ...change,
  }
  const out = join(root, 'out')
  await expect(cutModel(new MemoryModel(files), out)).rejects.toThrow(sentence)
  expect(existsSync(out)).toBe(false)
  expect(readdirSync(root)).toEqual([])
}

const config = (change: Record<string, unknown>): { 'config.json': string } => {
  const text = readFileSync(join(GOOD, 'config.json'), 'utf8')
  return {
    'config.json': JSON.stringify({ ...(JSON.parse(text) as object), ...change }),
  }
}

test('weights that are no numbers', async () => {
  const bytes = new Uint8Array(readFileSync(join(GOOD, FILE)))
  const { graph } = await readModel(new MemoryModel({ [FILE]: bytes }), FILE)
  const table = [...graph.initializers.values()].find(
    ({ dtype, data }) => dtype === 'float32' && data.kind === 'file',
  )
  if (table?.data.kind !== 'file')
    throw new Error('The fixture has no large fp32 weight.')
  const { offset, length } = table.data
  const view = new DataView(bytes.buffer, offset, length)
  for (let at = 0; at < length; at += 4) view.setFloat32(at, NaN, true)
  await refuse({ [FILE]: bytes }, /^The model answers .* with NaN .* damaged/)
})

test('a config of another model', async () => {
  await refuse(config({ vocab_size: 32000 }), /vocabulary of 32000 .* logits for 512/)
  await refuse(config({ num_hidden_layers: 7 }), /7 layers, but .* for 4/)
  await refuse(config({ num_key_value_heads: 4 }), /4 key\/value heads, but .* has 2/)
  await refuse(config({ head_dim: 32 }), /^The runtime cannot run this model: [^\n]+$/)
})

test('bytes that only look like a model', async () => {
  const bytes = new Uint8Array(readFileSync(join(GOOD, FILE)))
  const after = new Uint8Array([...bytes, 255, 255, 255])
  await refuse({ [FILE]: after }, /not a complete ONNX file: byte \d+ of \d+/)
  await refuse({ [FILE]: bytes.fill(0, 0, 1) }, /not a complete ONNX file: byte 0/)
})
