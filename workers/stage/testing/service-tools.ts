/** A stage service in Node: a real cut, the WASM runtime, and what was opened and released. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { cutModel } from '../../../model-split/cut/cut.ts'
import type { Manifest } from '../../../model-split/manifest.ts'
import { openSource } from '../../../model-split/source/open.ts'
import { systemClock } from '../../ring/clock.ts'
import type { RingPlan } from '../../ring/types.ts'
import type { OpenOptions } from '../api.ts'
import { createWasmEngine } from '../engine-wasm.ts'
import type { StageParts } from '../load-layouts.ts'
import type { Engine, ShardReader } from '../types.ts'
import { fixture } from './fixtures.ts'
import { nodeRuntime } from './node-runtime.ts'

const runtime = await nodeRuntime()
const out = await mkdtemp(join(tmpdir(), 'service-'))
afterAll(() => rm(out, { recursive: true }))

export async function cut(
  name: string,
): Promise<{ manifest: Manifest; reader: ShardReader }> {
  const source = await openSource(fixture(name))
  const folder = join(out, name)
  try {
    const { manifest } = await cutModel(source, folder, {})
    const read = async (path: string) =>
      new Uint8Array(await readFile(join(folder, path)))
    return {
      manifest,
      reader: { file: read, shard: (sha256) => read(`shards/${sha256}.bin`) },
    }
  } finally {
    await source.close()
  }
}

export interface Fake {
  readonly parts: StageParts
  readonly engines: Engine[]
  readonly released: Engine[]
}

export function parts(reader: ShardReader, change: Partial<StageParts> = {}): Fake {
  const engines: Engine[] = []
  const released: Engine[] = []
  const made: StageParts = {
    clock: systemClock,
    engine() {
      const engine = createWasmEngine({ runtime })
      const release = engine.release.bind(engine)
      engine.release = () => {
        released.push(engine)
        return release()
      }
      engines.push(engine)
      return Promise.resolve(engine)
    },
    webgpuMissing: () => Promise.resolve('This browser has no WebGPU.'),
    reader: () => Promise.resolve(reader),
    ...change,
  }
  return { parts: made, engines, released }
}

export function plan(number: number, ...stages: [string, number, number][]): RingPlan {
  return {
    epoch: { term: 1, number },
    stages: stages.map(([device, from, to]) => ({ device, from, to })),
  }
}

export const options = (manifest: Manifest, self: string): OpenOptions => ({
  url: 'http://localhost/model/',
  manifest,
  self,
  memoryBudget: 1e9,
  engine: 'auto',
  mode: 'auto',
  threads: 1,
})
export const nothing = () => undefined
