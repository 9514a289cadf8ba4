/** Paths inside a model's folder; nothing outside it is ever opened. */
import { SourceError } from './source.ts'

/** Why the path would leave the folder it is relative to, or null for a good path. */
export function pathFault(path: string): string | null {
  if (path === '') return 'is empty'
  if (/^[a-z][a-z0-9+.-]*:/i.test(path)) return 'is an address, not a file name'
  if (path.includes('\\')) return 'contains a backslash'
  if (/[\0-\x1f]/.test(path)) return 'contains a control character'
  if (path.startsWith('/')) return 'is an absolute path'
  const parts = path.split('/')
  if (parts.includes('..')) return 'leads out of the folder'
  if (parts.some((part) => part === '' || part === '.')) return 'is not in its plain form'
  return null
}

/** @throws SourceError unless the path stays inside the model's folder. */
export function checkPath(path: string): void {
  const fault = pathFault(path)
  if (fault)
    throw new SourceError(
      `The file name "${path}" ${fault}; only files in the model's folder are read.`,
    )
}
