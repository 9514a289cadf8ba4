/** Small exports for tests: those in the tree, and more where `../shared` lies beside it. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../../..')
const FOLDERS = [join(ROOT, 'e2e/fixtures/models'), join(ROOT, '../shared/fixtures')]

/** Null: not at hand. */
export function findFixture(name: string): string | null {
  return FOLDERS.map((folder) => join(folder, name)).find(existsSync) ?? null
}

/** @throws Error where it is not at hand */
export function fixture(name: string): string {
  const folder = findFixture(name)
  if (folder === null) throw new Error(`There is no fixture ${name}.`)
  return folder
}
