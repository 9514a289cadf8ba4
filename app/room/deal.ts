/** What a deal of the layers is told and what it answers. */
import type { Manifest } from '../../model-split/manifest.ts'
import type { RingStage } from '../../workers/ring/types.ts'
import type { LeftOut } from './membership.ts'
import type { Facts } from './protocol.ts'

export interface DealDevice {
  readonly device: string
  readonly join: number
  readonly engine: 'wasm' | 'webgpu'
  /** How it kept its weights when it was measured; null before. */
  readonly mode: Facts['mode']
  /** Bytes it lends. */
  readonly memoryBudget: number
  /** For one token, ms; null until measured. */
  readonly msPerLayer: number | null
  readonly msStarter: number | null
  readonly links: Facts['links']
  /** Layers beside its span whose weights are in its memory. */
  readonly holds: readonly number[]
  /** Not much slower than it usually is. */
  readonly well: boolean
}

/** `lap`: one answer at a time. `stage`: several at once. */
export type Load = 'lap' | 'stage'

export type Dealt =
  | Known
  /** It takes a while: to be asked again once `known` has resolved. */
  | { readonly kind: 'thinking'; readonly known: Promise<void> }

export type Known =
  | {
      readonly kind: 'plan'
      readonly stages: readonly RingStage[]
      readonly leftOut: readonly LeftOut[]
      /** What is made small: time of a token by the load, ms. */
      readonly ms: number
      /** The same of how it is dealt now; null where that cannot go on. */
      readonly nowMs: number | null
      /** Time that answers lose while layers move from where they are now, ms. */
      readonly moveMs: number
      /** A device has no room for both, so answers stop until it has loaded. */
      readonly stops?: boolean
      /** What the stages of `now` should hold beside their spans; none: nothing. */
      readonly holds?: readonly (readonly number[])[]
      /** Somebody wants it so: it is no matter of speed. */
      readonly told?: boolean
    }
  | { readonly kind: 'short'; readonly missingBytes: number }

/** @param now how it is dealt now, or null; a deal may stick to it. */
export type Deal = (
  manifest: Manifest,
  devices: readonly DealDevice[],
  now: readonly RingStage[] | null,
  load: Load,
) => Dealt
