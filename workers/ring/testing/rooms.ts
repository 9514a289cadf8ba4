/** Plans, prompts and rooms that several tests start from. */
import type { Manifest } from '../../../model-split/manifest.ts'
import { GREEDY, type Ask, type RingPlan, type Sampling } from '../types.ts'
import {
  fakeManifest,
  VOCABULARY,
  type FakeOptions,
  type RunRecord,
} from './fake-model.ts'
import { FakeRoom, randomFrom, type RoomOptions } from './fake-room.ts'

export const HOT: Sampling = {
  temperature: 0.9,
  topK: 20,
  topP: 0.9,
  repetitionPenalty: 1.2,
  seed: 5,
}

export function plan(number: number, ...stages: [string, number, number][]): RingPlan {
  return {
    epoch: { term: 1, number },
    stages: stages.map(([device, from, to]) => ({ device, from, to })),
  }
}

export const PLANS: Readonly<Record<number, RingPlan>> = {
  1: plan(1, ['a', 0, 6]),
  2: plan(1, ['a', 0, 2], ['b', 2, 6]),
  3: plan(1, ['a', 0, 0], ['b', 0, 3], ['c', 3, 6]),
  4: plan(1, ['a', 0, 1], ['b', 1, 2], ['c', 2, 4], ['d', 4, 6]),
}

export function prompt(length: number, seed = 1): number[] {
  const random = randomFrom(seed)
  return Array.from({ length }, () => Math.floor(random() * VOCABULARY))
}

export function question(sequence: number, ids: number[], more: Partial<Ask> = {}): Ask {
  return { sequence, ids, maxTokens: 12, sampling: GREEDY, ...more }
}

/** Five devices, a to e, of which the plan's run the model. */
export async function room(
  model: FakeOptions,
  first: RingPlan,
  seed = 1,
  more: Partial<RoomOptions> = {},
): Promise<{ manifest: Manifest; room: FakeRoom }> {
  const manifest = fakeManifest(model)
  const made = new FakeRoom(['a', 'b', 'c', 'd', 'e'], {
    manifest,
    seed,
    chunkRows: 8,
    ...more,
  })
  await made.activate(first)
  return { manifest, room: made }
}

export function runsOf(made: FakeRoom, device: string): RunRecord[] {
  return made.device(device).engine?.runs ?? []
}
