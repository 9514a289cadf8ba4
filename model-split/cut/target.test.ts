import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { MANIFEST_FORMAT } from '../manifest.ts'
import { makeFolder } from './target.ts'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'choir target é-'))
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

const cutOf =
  (word: string) =>
  async (folder: string): Promise<string> => {
    const manifest = JSON.stringify({ format: MANIFEST_FORMAT, word })
    await writeFile(join(folder, 'manifest.json'), manifest)
    return word
  }
const failing = async (folder: string): Promise<never> => {
  await writeFile(join(folder, 'graph.bin'), 'half')
  throw new Error('enough')
}

test('an older cut is replaced, with nothing left beside it', async () => {
  const out = join(root, 'a cut')
  await makeFolder(out, cutOf('old'))
  expect(await makeFolder(out, cutOf('new'))).toBe('new')
  expect(readFileSync(join(out, 'manifest.json'), 'utf8')).toContain('new')
  expect(readdirSync(root)).toEqual(['a cut'])
})

test('a cut that fails leaves everything as it was', async () => {
  const out = join(root, 'cut')
  await makeFolder(out, cutOf('old'))
  await expect(makeFolder(out, failing)).rejects.toThrow('enough')
  await expect(makeFolder(join(root, 'x/y/z'), failing)).rejects.toThrow('enough')
  expect(readFileSync(join(out, 'manifest.json'), 'utf8')).toContain('old')
  expect(readdirSync(root)).toEqual(['cut'])
})

test('what is no cut is never replaced', async () => {
  const file = join(root, 'notes.txt')
  await writeFile(file, 'mine')
  await expect(makeFolder(file, cutOf('new'))).rejects.toThrow(/is a file; name a new/)
  await expect(makeFolder(root, cutOf('new'))).rejects.toThrow(/holds other files/)
  await expect(makeFolder(join(file, 'in'), cutOf('new'))).rejects.toThrow(
    /cannot be written \(ENOTDIR\); name another with --out/,
  )
  expect(readFileSync(file, 'utf8')).toBe('mine')
})

test('a cut that holds more than a cut, its own source for one, is kept', async () => {
  const out = join(root, 'cut')
  await makeFolder(out, cutOf('old'))
  await mkdir(join(out, 'source'))
  await expect(makeFolder(out, cutOf('new'))).rejects.toThrow(/holds other files/)
  expect(existsSync(join(out, 'source'))).toBe(true)
})
