import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openFolder } from './folder.ts'

let root = ''
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'choir-test-'))
  await mkdir(join(root, 'model/onnx'), { recursive: true })
  await mkdir(join(root, 'model/.git'))
  await writeFile(join(root, 'model/.git/config'), '')
  await writeFile(join(root, 'model/config.json'), '{}')
  await writeFile(join(root, 'model/onnx/model.onnx'), 'abcdef')
  await writeFile(join(root, 'secret'), 'secret')
})
afterEach(() => rm(root, { recursive: true }))

test('lists, measures and reads files', async () => {
  const source = await openFolder(join(root, 'model'))
  expect(source.name).toBe('model')
  expect(await source.list()).toEqual(['config.json', 'onnx/model.onnx'])
  expect(await source.size('onnx/model.onnx')).toBe(6)
  expect(await source.size('onnx')).toBe(null)
  expect(await source.size('nothing')).toBe(null)
  expect(Buffer.from(await source.read('onnx/model.onnx', 2, 3)).toString()).toBe('cde')
  expect(await source.text('config.json')).toBe('{}')
  expect(await source.text('nothing')).toBe(null)
})

test('reading past the end is refused', async () => {
  const source = await openFolder(join(root, 'model'))
  await expect(source.read('onnx/model.onnx', 4, 3)).rejects.toThrow(/ends at byte 6/)
  await expect(source.read('onnx/model.onnx', 1e12, 1)).rejects.toThrow(/ends at byte 6/)
  await expect(source.read('nothing', 0, 1)).rejects.toThrow(/has no file nothing/)
})

test.each([
  '../secret',
  'onnx/../../secret',
  '/etc/hostname',
  'file:///etc/hostname',
  'https://example.invalid/x',
  '..\\secret',
  'a\0b',
  './config.json',
  '',
])('the path %j is refused', async (path) => {
  const source = await openFolder(join(root, 'model'))
  await expect(source.size(path)).rejects.toThrow(
    /only files in the model's folder are read/,
  )
  await expect(source.read(path, 0, 1)).rejects.toThrow(
    /only files in the model's folder/,
  )
  await expect(source.text(path)).rejects.toThrow(/only files in the model's folder/)
})

test('links are followed inside the folder only', async () => {
  await symlink('onnx/model.onnx', join(root, 'model/inside'))
  await symlink('../secret', join(root, 'model/outside'))
  await symlink('..', join(root, 'model/up'))
  const source = await openFolder(join(root, 'model'))
  expect(await source.list()).toEqual([
    'config.json',
    'inside',
    'onnx/model.onnx',
    'outside',
    'up',
  ])
  expect(await source.text('inside')).toBe('abcdef')
  await expect(source.text('outside')).rejects.toThrow(/outside is a link that leads out/)
  await expect(source.text('up/secret')).rejects.toThrow(/is a link that leads out/)
})

test('the download cache of a hub may link to its blobs', async () => {
  await mkdir(join(root, 'blobs'))
  await mkdir(join(root, 'snapshots/1'), { recursive: true })
  await writeFile(join(root, 'blobs/abc'), 'blob')
  await symlink('../../blobs/abc', join(root, 'snapshots/1/config.json'))
  await symlink('../../secret', join(root, 'snapshots/1/secret'))
  const source = await openFolder(join(root, 'snapshots/1'))
  expect(await source.text('config.json')).toBe('blob')
  await expect(source.text('secret')).rejects.toThrow(/leads out/)
})

test('what is no folder is refused', async () => {
  await expect(openFolder(join(root, 'nowhere'))).rejects.toThrow(/There is no folder/)
  await expect(openFolder(join(root, 'secret'))).rejects.toThrow(
    /is a file; give the folder/,
  )
})

test('an aborted signal stops reading', async () => {
  const source = await openFolder(
    join(root, 'model'),
    AbortSignal.abort(new Error('enough')),
  )
  await expect(source.read('config.json', 0, 1)).rejects.toThrow('enough')
})
