import type { ModelSource } from '../source/source.ts'

/** What config.json and generation_config.json say; the graph has the last word. */
export interface ModelConfig {
  readonly raw: Readonly<Record<string, unknown>>
  readonly modelType: string | null
  readonly layers: number | null
  readonly hidden: number | null
  /** Numbers of KV heads that the config makes plausible; empty where it says nothing. */
  readonly kvHeads: readonly number[]
  readonly headDim: number | null
  /** Longest context in tokens. */
  readonly context: number | null
  readonly vocabulary: number | null
  /** Token ids that end an answer. */
  readonly eos: readonly number[]
  readonly license: string | null
}

/** @throws ModelError where a file is not JSON. */
export function readConfig(source: ModelSource): Promise<ModelConfig> {
  throw new Error(`not yet: ${source.name}`)
}
