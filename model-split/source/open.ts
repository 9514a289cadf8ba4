import type { ModelSource } from './source.ts'

export interface SourceOptions {
  /** Hub to read ids from; default: CHOIR_HUB, else https://huggingface.co. */
  readonly hub?: string
  readonly signal?: AbortSignal
  /** Waits between tries; given so that tests need not wait. */
  readonly sleep?: (milliseconds: number, signal?: AbortSignal) => Promise<void>
}

/** Opens a folder, a hub id `org/name[@revision]` or the web address of a folder. */
export function openSource(
  spec: string,
  options: SourceOptions = {},
): Promise<ModelSource> {
  throw new Error(`not yet: ${spec} ${String(options.hub)}`)
}
