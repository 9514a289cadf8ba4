import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseManifest, type Manifest } from '../manifest.ts'
import { openFolder } from '../source/folder.ts'
import { argmax, Chain, parseSpans } from '../run/chain.ts'
import { openCutFolder } from '../run/folder.ts'
import { verifyCut } from '../run/verify.ts'
import { cutModel, type CutResult } from './cut.ts'

const OURS = join(import.meta.dirname, '../../e2e/fixtures/models')
const SHARED = join(import.meta.dirname, '../../../shared')
/** Slow ones stay with the command line tool's own checks. */
const work = mkdtempSync(join(tmpdir(), 'choir-cut-'))
afterAll(() => rmSync(work, { recursive: true, force: true }))

async function cut(
  folder: string,
): Promise<CutResult & { out: string; largest: number }> {
  const out = join(work, basename(folder))
  const source = await openFolder(folder)
  let largest = NaN
  const result = await cutModel(source, out, {
    check: async (made, cutResult) => {
      const report = await verifyCut(source, made, cutResult, () => undefined)
      largest = report.largest
      expect(report.largest).toBeLessThanOrEqual(report.bound)
    },
  })
  return { ...result, out, largest }
}

const shared = join(SHARED, 'fixtures')
const fixtures = existsSync(shared)
  ? readdirSync(shared, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(shared, name))
  : readdirSync(OURS).map((name) => join(OURS, name))

describe('every split of an export gives the uncut logits', () => {
  it.each(fixtures.map((folder) => [basename(folder), folder]))(
    '%s',
    async (_, folder) => {
      const { out, optimisation, largest, manifest } = await cut(folder)
      expect(manifest.hidden).toBe(64)
      // All layers of these exports are of one shape, and so are those of the cut.
      const flops = manifest.segments.slice(1, -1).map((segment) => segment.flops)
      expect(new Set(flops).size).toBe(1)
      expect(manifest.segments.at(-1)?.flops).toBe(2 * 64 * 512)
      if (optimisation === 'disabled') expect(largest).toBe(0)
      const expected = JSON.parse(
        readFileSync(join(folder, 'expected.json'), 'utf8'),
      ) as {
        inputs: { input_ids: number[] }
        prefill_last_logits: number[]
      }
      const files = await openCutFolder(out)
      const chain = await Chain.open(
        files,
        parseSpans(`0-1,1-${files.manifest.layers}`, files.manifest.layers),
        optimisation,
      )
      const logits = await chain.step(expected.inputs.input_ids)
      await chain.release()
      // Another runtime's kernels: quantised and half precision graphs differ more.
      const quantised = /int4|int8|q4|fp16/.test(folder)
      const off = Math.max(
        ...expected.prefill_last_logits.map((value, i) =>
          Math.abs(value - (logits[i] ?? NaN)),
        ),
      )
      expect(off).toBeLessThan(quantised ? 1 : 1e-3)
      if (!quantised) expect(argmax(logits)).toBe(argmax(expected.prefill_last_logits))
    },
  )
})

describe('what a cut holds', () => {
  let plain: Manifest
  let residual: Manifest
  let tied: Manifest
  beforeAll(async () => {
    plain = (await cut(join(OURS, 'genai-llama-int4-cpu'))).manifest
    residual = (await cut(join(OURS, 'llama-value-residual'))).manifest
    tied = (await cut(join(OURS, 'genai-qwen2-int4-tied'))).manifest
  })

  it('sends one fp32 tensor over a border where a fused norm only adds two', () => {
    for (let border = 0; border <= plain.layers; border++) {
      const crossing = Object.values(plain.tensors).filter(
        (t) => t.from <= border && t.to.some((s) => s > border),
      )
      expect(crossing.map(({ dtype }) => dtype)).toEqual(['float32'])
    }
    expect(plain.dependencies.residual).toEqual([])
  })

  it('maps a tensor that many layers read straight to each of them', () => {
    const names = new Set(
      residual.dependencies.residual.flatMap(({ tensors }) => tensors),
    )
    expect(names.size).toBe(1)
    expect(residual.dependencies.residual.map(({ from, to }) => [from, to])).toEqual([
      [1, 3],
      [1, 4],
    ])
  })

  it('keeps tied weights once, in a blob that embedding and head share', () => {
    const blobsOf = (id: string, seen = new Set<string>()): string[] => {
      if (seen.has(id)) return []
      seen.add(id)
      const piece = tied.pieces[id]
      return [
        ...(piece?.blobs ?? []),
        ...(piece?.needs ?? []).flatMap((need) => blobsOf(need, seen)),
      ]
    }
    const common = blobsOf('embed').filter((blob) => blobsOf('head').includes(blob))
    expect(common).toHaveLength(1)
  })

  it('gives each layer a shard of its own', () => {
    for (let layer = 0; layer < plain.layers; layer++)
      expect(plain.blobs[`layer.${layer}`]?.shards).toHaveLength(1)
  })

  it('cuts to the same bytes again', async () => {
    const again = await cut(join(OURS, 'genai-llama-int4-cpu'))
    expect(again.manifest).toEqual(plain)
    expect(
      parseManifest(JSON.parse(readFileSync(join(again.out, 'manifest.json'), 'utf8'))),
    ).toEqual(plain)
  })

  it('names shards by their content', async () => {
    const { out, manifest } = await cut(join(OURS, 'genai-llama-int4-cpu'))
    const files = await openCutFolder(out)
    for (const id of Object.keys(manifest.blobs))
      expect((await files.blob(id, 'packed')).length).toBe(manifest.blobs[id]?.bytes)
    const names = readdirSync(join(out, 'shards')).sort()
    expect(names).toEqual(
      Object.keys(manifest.shards)
        .map((shard) => `${shard}.bin`)
        .sort(),
    )
  })
})

const broken = join(SHARED, 'fixtures-bad')
describe.skipIf(!existsSync(broken))('broken exports are refused in one sentence', () => {
  const folders = existsSync(broken)
    ? readdirSync(broken, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => name)
    : []
  it.each(folders)('%s', async (name) => {
    const out = join(work, `bad-${name}`)
    const attempt = cutModel(await openFolder(join(broken, name)), out)
    await expect(attempt).rejects.toThrow(/^[^\n]{20,}$/)
    expect(existsSync(out)).toBe(false)
    expect(readdirSync(work).filter((entry) => entry.endsWith('.choir-cut'))).toEqual([])
  })
})
