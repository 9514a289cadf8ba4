import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { parseManifest, type Manifest } from '../manifest.ts'
import { readModel } from '../onnx/read.ts'
import type { OnnxGraph } from '../onnx/types.ts'
import {
  bytesField,
  concat,
  graphField,
  modelProto,
  nodeProto,
  tensorProto,
  valueInfoProto,
  varintField,
} from '../onnx/write.ts'
import { verifyCut } from '../run/verify.ts'
import { MemoryModel } from '../source/memory.ts'
import { foldBranches } from './branches.ts'
import { cutModel } from './cut.ts'
import { findModelFile } from './variant.ts'
import { fieldsOf, mergedDecoder } from './testing/merged.ts'

const EXPORT = join(import.meta.dirname, '../../e2e/fixtures/models/optimum-qwen2')
const root = mkdtempSync(join(tmpdir(), 'choir-merged-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const plain = new Uint8Array(readFileSync(join(EXPORT, 'onnx/model.onnx')))
const config = readFileSync(join(EXPORT, 'config.json'), 'utf8')

async function cut(path: string, bytes: Uint8Array): Promise<Manifest> {
  const source = new MemoryModel({ [path]: bytes, 'config.json': config })
  const out = join(root, 'out')
  const { manifest, file } = await cutModel(source, out, {
    check: async (folder, result) => {
      if (bytes === plain) return
      const report = await verifyCut(source, folder, result, () => undefined)
      expect(report).toMatchObject({ exact: true, largest: 0 })
    },
  })
  expect(file).toBe(path)
  expect(
    parseManifest(JSON.parse(readFileSync(join(out, 'manifest.json'), 'utf8'))),
  ).toEqual(manifest)
  return manifest
}

describe('a merged decoder', () => {
  test('is cut as the decoder with past that it holds', async () => {
    const merged = await mergedDecoder(plain, ['model.layers.1.mlp.up_proj.weight'])
    const [expected, manifest] = [
      await cut('onnx/model.onnx', plain),
      await cut('onnx/decoder_model_merged.onnx', merged),
    ]
    expect(Object.keys(manifest.shards)).toEqual(Object.keys(expected.shards))
    expect(manifest.golden.sha256).toBe(expected.golden.sha256)
    expect(Object.keys(manifest.feeds)).toEqual(Object.keys(expected.feeds))
  })

  test('whose branch with past takes one token at a time is refused', async () => {
    const text = (value: string): Uint8Array => new TextEncoder().encode(value)
    let masks = 0
    // Without its causal mask a row sees those behind it.
    const blind = await mergedDecoder(plain, [], (node) => {
      const { lengths, rest } = fieldsOf(node)
      const type = lengths.find(([n]) => n === 4)?.[1]
      const output = new TextDecoder().decode(lengths.find(([n]) => n === 2)?.[1])
      if (new TextDecoder().decode(type) !== 'LessOrEqual') return [node]
      masks++
      const renamed = lengths.map(([n, value]) =>
        bytesField(n, n === 2 ? text('before') : value),
      )
      return [
        concat([...renamed, rest]),
        nodeProto({ opType: 'Not', inputs: ['before'], outputs: ['after'] }),
        nodeProto({ opType: 'Or', inputs: ['before', 'after'], outputs: [output] }),
      ]
    })
    expect(masks).toBe(1)
    const source = new MemoryModel({
      'decoder_model_merged.onnx': blind,
      'config.json': config,
    })
    await expect(cutModel(source, join(root, 'blind'))).rejects.toThrow(
      /^The model reads a prompt at once in another way than token by token: .* export it again/,
    )
  })

  test('is preferred to the first step alone that lies beside it', async () => {
    const paths = ['decoder_model', 'decoder_model_merged', 'decoder_with_past_model']
    const source = (suffix: string): MemoryModel =>
      new MemoryModel(
        Object.fromEntries(paths.map((path) => [`onnx/${path}${suffix}.onnx`, 'x'])),
      )
    for (const [suffix, variant] of [
      ['', undefined],
      ['_quantized', undefined],
      ['_quantized', 'quantized'],
    ] as const)
      expect((await findModelFile(source(suffix), variant)).path).toBe(
        `onnx/decoder_model_merged${suffix}.onnx`,
      )
  })
})

describe('branches of known conditions', () => {
  const node = (opType: string, inputs: string[], outputs: string[]): Uint8Array =>
    graphField('node', nodeProto({ opType, inputs, outputs }))
  const flag = (name: string, value: boolean): Uint8Array =>
    graphField(
      'initializer',
      tensorProto({ name, dtype: 'bool', dims: [], raw: Uint8Array.of(Number(value)) }),
    )
  const weight = (name: string, count = 1): Uint8Array =>
    graphField(
      'initializer',
      tensorProto({
        name,
        dtype: 'float32',
        dims: [count],
        raw: new Uint8Array(4 * count),
      }),
    )
  const input = (name: string): Uint8Array =>
    graphField('input', valueInfoProto(name, 'float32', [null]))
  const output = (name: string): Uint8Array =>
    graphField('output', valueInfoProto(name, 'float32', [null]))
  const choice = (
    condition: string,
    outputs: string[],
    then: Uint8Array[],
    otherwise: Uint8Array[],
  ): Uint8Array =>
    graphField(
      'node',
      nodeProto({
        opType: 'If',
        inputs: [condition],
        outputs,
        attributes: {
          then_branch: { graph: concat(then) },
          else_branch: { graph: concat(otherwise) },
        },
      }),
    )
  async function fold(...fields: Uint8Array[]): Promise<OnnxGraph> {
    const opset = bytesField(8, concat([varintField(2, 18)]))
    const header = concat([varintField(1, 8), opset])
    const bytes = modelProto(header, concat([...fields, output('y')]))
    const { graph } = await readModel(new MemoryModel({ m: bytes }), 'm')
    const folded = foldBranches(graph)
    // What was parsed of a node and its bytes say the same.
    const again = concat([
      header,
      bytesField(7, concat(folded.nodes.map((n) => graphField('node', n.bytes)))),
    ])
    const read = fieldsOf(fieldsOf(again).lengths.find(([n]) => n === 7)![1]).lengths
    read.forEach(([, message], i) => {
      const names = (field: number): string[] =>
        fieldsOf(message)
          .lengths.filter(([n]) => n === field)
          .map(([, text]) => new TextDecoder().decode(text))
      expect(names(1)).toEqual(folded.nodes[i]?.inputs)
      expect(names(2)).toEqual(folded.nodes[i]?.outputs)
    })
    return folded
  }
  const told = ({ nodes }: OnnxGraph): string[] =>
    nodes.map((n) => `${n.outputs.join()} = ${n.opType}(${n.inputs.join()})`)

  test('the one taken stands in place of the node, under the node’s own names', async () => {
    const fields = [
      input('x'),
      choice(
        'c',
        ['y'],
        [node('Neg', ['x'], ['a']), output('a')],
        [node('Abs', ['x'], ['a']), output('a')],
      ),
    ]
    expect(told(await fold(flag('c', true), ...fields))).toEqual(['y = Neg(x)'])
    expect(told(await fold(flag('c', false), ...fields))).toEqual(['y = Abs(x)'])
    const through = [node('Identity', ['b'], ['i']), node('Not', ['i'], ['c'])]
    expect(told(await fold(flag('b', true), ...through, ...fields)).at(-1)).toBe(
      'y = Abs(x)',
    )
  })

  test('one that only a run can choose stays', async () => {
    const keep = choice('c', ['y'], [output('x')], [output('z')])
    const condition = graphField('input', valueInfoProto('c', 'bool', []))
    const graph = await fold(condition, input('x'), input('z'), keep)
    expect(told(graph)).toEqual(['y = If(c)'])
  })

  test('names that mean something else outside are changed, initialisers too', async () => {
    const graph = await fold(
      flag('c', true),
      input('x'),
      weight('w'),
      node('Neg', ['x'], ['a']),
      node('Add', ['a', 'w'], ['b']),
      choice(
        'c',
        ['y'],
        [
          weight('w'),
          node('Mul', ['x', 'w'], ['a']),
          node('Add', ['a', 'b'], ['d']),
          output('d'),
        ],
        [output('x')],
      ),
    )
    expect(told(graph)).toEqual([
      'a = Neg(x)',
      'b = Add(a,w)',
      'a/branch_1 = Mul(x,w/branch_1)',
      'y = Add(a/branch_1,b)',
    ])
    expect([...graph.initializers.keys()].sort()).toEqual(['c', 'w', 'w/branch_1'])
  })

  test('large weights are read as such, and what is handed through is copied', async () => {
    const graph = await fold(
      flag('c', true),
      input('x'),
      choice(
        'c',
        ['y', 'z', 't'],
        [
          weight('large', 300),
          node('Mul', ['x', 'large'], ['m']),
          ...['m', 'm', 'x'].map(output),
        ],
        ['x', 'x', 'x'].map(output),
      ),
    )
    expect(told(graph)).toEqual([
      'y = Mul(x,large/hoisted)',
      'z = Identity(y)',
      't = Identity(x)',
    ])
  })

  test('one inside another is taken too', async () => {
    const inner = choice(
      'd',
      ['p'],
      [node('Neg', ['q'], ['q2']), output('q2')],
      [output('x')],
    )
    const graph = await fold(
      flag('c', true),
      input('x'),
      choice(
        'c',
        ['y'],
        [flag('d', true), node('Abs', ['x'], ['q']), inner, output('p')],
        [output('x')],
      ),
    )
    expect(told(graph)).toEqual(['q = Abs(x)', 'y = Neg(q)'])
  })

  test('a name that a nested graph reads is refused where it would change', async () => {
    const inner = choice(
      'run',
      ['p'],
      [node('Neg', ['a'], ['n']), output('n')],
      [output('x')],
    )
    const condition = graphField('input', valueInfoProto('run', 'bool', []))
    const graph = fold(
      ...[flag('c', true), condition, input('x'), node('Neg', ['x'], ['a'])],
      choice(
        'c',
        ['y'],
        [node('Abs', ['a'], ['b']), node('Abs', ['b'], ['a']), inner, output('p')],
        [output('x')],
      ),
    )
    await expect(graph).rejects.toThrow(/reads its tensor "a".*export the model again/)
  })
})
