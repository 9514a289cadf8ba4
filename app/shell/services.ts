/** All that the screens need from outside; given once by main.ts. */
import type { StorageReport } from '../../workers/shards/types.ts'
import type { Rooms } from './rooms.ts'

/** What this browser can lend. */
export interface Preflight {
  readonly engine: 'wasm' | 'webgpu'
  /** Bytes that it can lend at most. */
  readonly memoryBytes: number
  /** It is less than it could be, as loading a model ended this page before. */
  readonly halved: boolean
  /** One sentence each, for people: what will not work here and what helps. */
  readonly problems: readonly string[]
}

export interface Services {
  readonly rooms: Rooms
  readonly preflight: () => Promise<Preflight>
  /** Back to all that can be lent, after crashes had halved it. */
  readonly forgetCrashes: () => void
  readonly storage: () => Promise<StorageReport>
  /** Deletes the weights of one model from this device. */
  readonly removeModel: (url: string) => Promise<void>
}
