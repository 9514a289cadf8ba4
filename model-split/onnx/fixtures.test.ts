/** Real exports, sound and broken. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { openFolder } from '../source/folder.ts'
import { readConfig } from './config.ts'
import { inferDtypes } from './dtypes.ts'
import { ModelError } from './error.ts'
import { readModel, readTensor } from './read.ts'
import type { OnnxModel } from './types.ts'

const SHARED = new URL('../../../shared/', import.meta.url).pathname
const GOOD = `${SHARED}fixtures`
const BAD = `${SHARED}fixtures-bad`

function folders(path: string): string[] {
  if (!existsSync(path)) return []
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
}

async function load(path: string): Promise<OnnxModel> {
  const source = await openFolder(path)
  const file = (await source.list()).find((name) => name.endsWith('.onnx'))
  return readModel(source, file!)
}

/** `### name` sections of the fixtures' README give each graph's number of nodes. */
function nodeCounts(): Map<string, number> {
  const text = existsSync(`${GOOD}/README.md`)
    ? readFileSync(`${GOOD}/README.md`, 'utf8')
    : ''
  const sections = text.split('\n### ').slice(1)
  return new Map(
    sections.map((section) => [
      section.slice(0, section.indexOf('\n')),
      Number(/^- (\d+) nodes/m.exec(section)?.[1]),
    ]),
  )
}

describe.skipIf(!existsSync(GOOD))('exports in shared/fixtures', () => {
  const counts = nodeCounts()

  test.each(folders(GOOD))('%s is read with all its nodes and types', async (name) => {
    const model = await load(`${GOOD}/${name}`)
    // Two graphs that were edited by hand have no section of their own there.
    const count = counts.get(name)
    if (count !== undefined) expect(model.graph.nodes.length).toBe(count)
    expect(counts.size).toBeGreaterThan(30)
    const dtypes = inferDtypes(model)
    const outputs = model.graph.nodes
      .flatMap((node) => node.outputs)
      .filter((o) => o !== '')
    expect(outputs.filter((output) => !dtypes.has(output))).toEqual([])
    // The rules alone find what the file declares.
    const graph = { ...model.graph, valueInfo: new Map(), outputs: [] }
    expect(inferDtypes({ ...model, graph })).toEqual(dtypes)
  })

  test('weights in external data equal the same weights inside the file', async () => {
    const inside = await openFolder(`${GOOD}/optimum-llama`)
    const outside = await openFolder(`${GOOD}/llama-external`)
    const a = await readModel(inside, 'onnx/model.onnx')
    const b = await readModel(outside, 'onnx/model.onnx')
    expect([...b.graph.initializers.keys()]).toEqual([...a.graph.initializers.keys()])
    const files = new Set<string>()
    for (const [name, tensor] of a.graph.initializers) {
      const other = b.graph.initializers.get(name)!
      if (other.data.kind === 'file') files.add(other.data.file)
      const bytes = await readTensor(inside, tensor)
      expect(bytes.length).toBe(tensor.bytes)
      expect(Buffer.compare(bytes, await readTensor(outside, other)), name).toBe(0)
    }
    expect(files).toContain('onnx/model.onnx_data')
  })

  test('the config of every export gives layers, KV heads and ends', async () => {
    for (const name of folders(GOOD)) {
      const config = await readConfig(await openFolder(`${GOOD}/${name}`))
      expect(config.layers, name).toBeGreaterThan(2)
      expect(config.kvHeads.length, name).toBeGreaterThan(0)
      expect(config, name).toMatchObject({
        hidden: 64,
        vocabulary: 512,
        context: 256,
        eos: [2],
      })
    }
  })
})

describe.skipIf(!existsSync(BAD))('broken models in shared/fixtures-bad', () => {
  test.each([
    ['truncated-protobuf', /not a complete ONNX file/],
    ['truncated-in-weights-tail', /not a complete ONNX file/],
    ['empty-file', /onnx\/model\.onnx is empty; it has no graph/],
    ['json-instead-of-onnx', /is JSON, not an ONNX model/],
    ['html-instead-of-onnx', /is a web page, not an ONNX model/],
    ['lfs-pointer', /git-lfs pointer to it; run "git lfs pull"/],
    ['external-data-missing', /data file onnx\/model\.onnx_data is missing/],
    ['external-data-too-short', /data file onnx\/model\.onnx_data is too short/],
    ['external-offset-past-end', /"onnx::MatMul_1315" needs bytes 10000000000 to/],
    ['external-length-mismatch', /"onnx::MatMul_1314" has 64 bytes .* needs 8192/],
    ['external-negative-offset', /"onnx::MatMul_1314" has the offset "-4096"/],
    ['external-path-traversal', /"\.\.\/outside\.bin", which leads out of the folder/],
    ['external-path-absolute', /"\/etc\/hostname", which is an absolute path/],
    ['external-path-url', /"https:.*", which is an address, not a file name/],
    ['graph-cycle', /The graph has a cycle: node ".*" \(.*\)/],
    [
      'missing-initializer',
      /produces the tensor "model\.layers\.2\.input_layernorm\.weight"/,
    ],
    ['duplicate-output-name', /The tensor ".*" in .* is produced twice/],
    [
      'initializer-shape-lie',
      /has 256 bytes of data, but its shape \[128\] .* needs 512/,
    ],
  ])('%s is refused with one sentence', async (name, sentence) => {
    const error: unknown = await load(`${BAD}/${name}`).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(ModelError)
    expect(String(error)).toMatch(sentence)
  })

  test('a config that is cut off is refused', async () => {
    const source = await openFolder(`${BAD}/config-not-json`)
    await expect(readConfig(source)).rejects.toThrow(/^config\.json is not JSON/)
  })

  test('an operator that no runtime knows is no reason to refuse', async () => {
    const model = await load(`${BAD}/unknown-op`)
    expect(model.graph.nodes.map((node) => node.opType)).toContain('FrobnicateV2')
  })
})
