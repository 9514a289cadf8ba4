/** The folder of a cut: filled beside its place, and moved there once it is whole. */
import { rmSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, rmdir, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { MANIFEST_FORMAT } from '../manifest.ts'
import { ModelError } from '../onnx/error.ts'
import { TEXTS } from './texts.ts'

const OURS = new Set(['manifest.json', 'graph.bin', 'golden.bin', 'shards', ...TEXTS])

/**
 * @param out folder to make; an older cut there is replaced, anything else is left alone.
 * @param fill writes into the folder that it is given; what it throws undoes everything.
 * @throws ModelError where the folder may not or cannot be written.
 */
export async function makeFolder<T>(
  out: string,
  fill: (folder: string) => Promise<T>,
): Promise<T> {
  const target = resolve(out)
  await refuseForeign(target)
  const work = join(dirname(target), `.${process.pid}-${Date.now()}.choir-cut`)
  const clear = (): void => rmSync(work, { recursive: true, force: true })
  process.once('exit', clear)
  let made: string | undefined
  try {
    made = await mkdir(work, { recursive: true })
    const result = await fill(work)
    await moveOver(work, target)
    return result
  } catch (error) {
    if (made !== undefined) {
      await rm(work, { recursive: true, force: true })
      await removeEmpty(dirname(work), dirname(made))
    }
    throw explained(error, target)
  } finally {
    process.off('exit', clear)
  }
}

async function refuseForeign(target: string): Promise<void> {
  const info = await stat(target).catch(() => null)
  if (!info) return
  if (!info.isDirectory())
    throw new ModelError(`${target} is a file; name a new folder with --out.`)
  const names = await readdir(target)
  if (names.length === 0) return
  const manifest = await readFile(join(target, 'manifest.json'), 'utf8').catch(() => '')
  if (!manifest.includes(MANIFEST_FORMAT) || names.some((name) => !OURS.has(name)))
    throw new ModelError(
      `The folder ${target} holds other files; name an empty or new folder with --out.`,
    )
}

/** An older cut goes only when the new one is in its place. */
async function moveOver(work: string, target: string): Promise<void> {
  const old = `${work}.old`
  const replaces = await rename(target, old).then(
    () => true,
    () => false,
  )
  try {
    await rename(work, target)
  } catch (error) {
    if (replaces) await rename(old, target)
    throw error
  }
  await rm(old, { recursive: true, force: true })
}

/** Removes the folders that were made on the way to the target, from the innermost. */
async function removeEmpty(from: string, end: string): Promise<void> {
  for (let folder = from; folder.length > end.length; folder = dirname(folder))
    if (await rmdir(folder).catch(() => true)) return
}

/** What the system says of a folder that cannot be written, as one sentence. */
function explained(error: unknown, target: string): unknown {
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error))
    return error
  const { code } = error
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new ModelError(
      `The disk is full, so nothing was written; free some space or name a folder on another disk with --out.`,
      { cause: error },
    )
  return new ModelError(
    `The folder ${target} cannot be written (${String(code)}); name another with --out.`,
    { cause: error },
  )
}
