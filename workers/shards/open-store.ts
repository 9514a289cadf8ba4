/** Chooses where shards are kept. */
import { ShardError } from './errors.ts'
import { openIndexedStore } from './indexed-store.ts'
import { createMemoryStore } from './memory-store.ts'
import type { ShardStore } from './store.ts'

/**
 * The store of this origin; in memory where IndexedDB is missing or denied.
 * @throws ShardError `full`, `outdated` or `blocked`.
 */
export async function openStore(name = 'choir-shards'): Promise<ShardStore> {
  if (typeof indexedDB === 'undefined') return createMemoryStore()
  try {
    return await openIndexedStore(name)
  } catch (error) {
    if (error instanceof ShardError) throw error
    return createMemoryStore()
  }
}
