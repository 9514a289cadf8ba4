import { describe, expect, it } from 'vitest'
import { parseManifest } from '../manifest.ts'
import type { Manifest } from '../manifest.ts'
import { blobsOf } from '../span.ts'
import type { Span } from '../span.ts'
import { modelCosts } from './costs.ts'
import { planLayers } from './plan.ts'
import { MODES } from './types.ts'
import type { Mode } from './types.ts'

const sha = '0'.repeat(64)
const layers = 3

/**
 * Three layers. All read a shared table; each border has an adapter with a weight of the layer
 * before; embedding and head read one tied blob; a residual tensor leads from layer 0 to 2.
 */
function manifest(): Manifest {
  const piece = (needs: string[], blobs: string[]) => ({
    at: [0, 1],
    needs,
    feeds: [],
    blobs,
  })
  const blob = (packed: number, lean: number, dense: number) => ({
    bytes: packed,
    shards: [sha],
    tensors: [],
    quantised: [],
    denseBytes: dense,
    leanBytes: lean,
    forms: { packed: ['packed'], dense: ['dense'], lean: ['lean'] },
    resident: { packed, lean, dense },
  })
  const row = [
    [1, 0, 0, 0],
    [0, 0, 1, 0],
    [8, 0, 0, 0],
  ]
  const tensor = (from: number, to: number[], dtype = 'float32') => ({
    dtype,
    dims: row,
    from,
    to,
    golden: [0, 0],
  })
  const cache = (name: string, grows: boolean) => ({
    input: `past.${name}`,
    output: `present.${name}`,
    dtype: 'float16',
    dims: [[0, 1, 0, 0], [2, 0, 0, 0], grows ? [0, 0, 0, 1] : [5, 0, 0, 0], [4, 0, 0, 0]],
    axis: grows ? 2 : null,
  })
  const layer = (i: number) => ({
    name: `layer ${i}`,
    pieces: [`body.${i}`],
    ...(i > 0 && { entry: { inside: [`inside.${i}`], border: [`border.${i}`] } }),
    exit: [`exit.${i}`],
    caches:
      i === 1 ? [cache('state', false)] : [cache(`k${i}`, true), cache(`v${i}`, true)],
    flops: [100, 200, 300][i],
  })
  const ids = [0, 1, 2]
  return parseManifest({
    format: 'choir-cut',
    version: 1,
    model: { name: 'tiny', variant: '', architecture: null, license: null },
    layers,
    hidden: 8,
    vocabulary: 10,
    context: 64,
    eos: [1],
    batch: true,
    logits: { name: 'logits', dtype: 'float32', rows: 'all' },
    header: [0, 1],
    graph: { file: 'graph.bin', bytes: 1, sha256: sha },
    golden: { file: 'golden.bin', bytes: 1, sha256: sha, ids: [1], logits: [0, 0] },
    pieces: {
      embed: piece([], ['tied']),
      head: piece([], ['tied', 'norm']),
      'head.border': piece([], ['layer.2']),
      'head.inside': piece([], []),
      rotary: piece([], ['rotary']),
      ...Object.fromEntries(
        ids.flatMap((i) => [
          [`body.${i}`, piece(['rotary'], [`layer.${i}`])],
          [`inside.${i}`, piece([], [])],
          [`border.${i}`, piece([], [`adapter.${i}`])],
          [`exit.${i}`, piece(['rotary'], [`adapter.${i}`])],
        ]),
      ),
    },
    feeds: {},
    segments: [
      { name: 'embedding', pieces: ['embed'], exit: [], caches: [], flops: 0 },
      ...ids.map(layer),
      {
        name: 'head',
        pieces: ['head'],
        entry: { inside: ['head.inside'], border: ['head.border'] },
        exit: [],
        caches: [],
        flops: 400,
      },
    ],
    tensors: {
      hidden0: tensor(0, [1]),
      hidden1: tensor(1, [2]),
      hidden2: tensor(2, [3]),
      hidden3: tensor(3, [4]),
      residual: tensor(1, [3], 'float16'),
      local: tensor(0, [4]),
    },
    dependencies: { sequential: [], residual: [] },
    blobs: {
      tied: blob(1000, 2000, 7000),
      norm: blob(7, 7, 7),
      rotary: blob(50, 50, 50),
      ...Object.fromEntries(
        ids.map((i) => [`layer.${i}`, blob(100 + i, 200 + i, 800 + i)]),
      ),
      ...Object.fromEntries(ids.map((i) => [`adapter.${i}`, blob(3, 3, 3)])),
    },
    shards: { [sha]: { bytes: 1 } },
    files: [],
  })
}

function resident(cut: Manifest, spans: readonly Span[], mode: Mode): number {
  const blobs = new Set(spans.flatMap((span) => blobsOf(cut, span)))
  return [...blobs].reduce((sum, id) => sum + cut.blobs[id]!.resident[mode], 0)
}

describe('modelCosts', () => {
  const cut = manifest()
  const costs = modelCosts(cut)

  it('counts the blobs of every span once', () => {
    for (const mode of MODES) {
      for (let from = 0; from < layers; from++)
        for (let to = from + 1; to <= layers; to++) {
          const span = { from, to, embed: false, head: false }
          expect(costs.spanBytes[mode][from * 4 + to]).toBe(resident(cut, [span], mode))
        }
      for (let to = 0; to < layers; to++) {
        const spans = [
          { from: 0, to, embed: true, head: false },
          { from: layers, to: layers, embed: false, head: true },
        ]
        expect(costs.starterBytes[mode][to]).toBe(resident(cut, spans, mode))
      }
      const whole = [{ from: 0, to: layers, embed: true, head: true }]
      expect(costs.starterBytes[mode][layers]).toBe(resident(cut, whole, mode))
    }
    expect(costs.spanBytes.packed[1 * 4 + 3]).toBe(101 + 102 + 50 + 3 + 3)
    expect(costs.starterBytes.dense[0]).toBe(7000 + 7 + 802)
  })

  it('weighs layers by their work', () => {
    expect(costs.work).toEqual([0.5, 1, 1.5])
    expect(costs.starterWork).toBe(2)
  })

  it('tells growing caches from fixed ones', () => {
    expect(costs.rowBytes).toEqual([32, 0, 32])
    expect(costs.stateBytes).toEqual([0, 80, 0])
  })

  it('counts what crosses each border for one token', () => {
    // The tensor from the embedding to the head stays on the starter.
    expect(costs.borderBytes).toEqual([32, 32 + 16, 32 + 16, 32])
  })

  it('feeds the planner', () => {
    const device = (id: string, memoryBudget: number) => ({
      id,
      memoryBudget,
      modes: [
        { mode: 'dense' as const, msPerLayer: 1 },
        { mode: 'packed' as const, msPerLayer: 5 },
      ],
    })
    const links = {
      rttMs: [
        [0, 4],
        [4, 0],
      ],
      bytesPerMs: [
        [1, 32],
        [32, 1],
      ],
    }
    const options = { load: 'lap', contextTokens: 2, sequences: 1 } as const
    // Only the first device can hold the head, and not with all layers.
    const plan = planLayers(costs, [device('a', 1550), device('b', 1000)], links, options)
    expect(plan).toMatchObject({
      stages: [
        { device: 'a', from: 0, to: 2, mode: 'packed' },
        { device: 'b', from: 2, to: 3, mode: 'dense' },
      ],
      lapMs: 2 * 5 + 1.5 * 5 + 1.5 + 2 + 1.5 + 2 + 1,
      busiestMs: 17.5,
    })
  })

  it('names a piece or a blob that is missing', () => {
    const gap = manifest()
    delete gap.blobs['rotary']
    expect(() => modelCosts(gap)).toThrow('weights "rotary"')
    const hole = manifest()
    delete hole.pieces['rotary']
    expect(() => modelCosts(hole)).toThrow('graph piece "rotary"')
  })
})
