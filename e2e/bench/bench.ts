/** What every part of the benchmark gets. */
import type { Browser } from '@playwright/test'
import type { AppServer } from '../fixtures/server.ts'
import type { PeerModels } from './models.ts'

export interface Bench {
  readonly browser: Browser
  readonly app: AppServer
  readonly models: PeerModels
  readonly rounds: number
  /** Rounds that earlier runs have done, where this one goes on with them. */
  readonly first: number
  /** Progress, one line each. */
  readonly log: (line: string) => void
}
