/** Builds the app when its sources changed since the last build. */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

export const ROOT = fileURLToPath(new URL('../../', import.meta.url))
export const DIST = join(ROOT, 'dist')
const SOURCES = [
  'app',
  'workers',
  'model-split',
  'public',
  'vite.config.ts',
  'package-lock.json',
]
const STAMP = join(ROOT, '.cache', 'built')

/** @returns whether anything had to be built. */
export async function ensureBuilt(): Promise<boolean> {
  const before = await fingerprint(SOURCES.map((source) => join(ROOT, source)))
  if (before === (await lastBuild())) return false
  await build({ configFile: join(ROOT, 'vite.config.ts'), logLevel: 'warn' })
  await mkdir(dirname(STAMP), { recursive: true })
  await writeFile(STAMP, before)
  return true
}

async function lastBuild(): Promise<string | null> {
  try {
    await stat(join(DIST, 'index.html'))
    return await readFile(STAMP, 'utf8')
  } catch {
    return null
  }
}

/** Names, sizes and times of all files, in short. Tests don't count. */
export async function fingerprint(paths: readonly string[]): Promise<string> {
  const files = (await Promise.all(paths.map(list))).flat()
  const lines = files.filter((line) => !line.includes('.test.ts ')).sort()
  return createHash('sha256').update(lines.join('\n')).digest('hex')
}

async function list(path: string): Promise<string[]> {
  const found = await stat(path)
  if (!found.isDirectory()) return [`${path} ${found.size} ${found.mtimeMs}`]
  const entries = await readdir(path)
  return (await Promise.all(entries.map((entry) => list(join(path, entry))))).flat()
}
