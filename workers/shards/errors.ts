/** Errors of the shard store and the downloader that a person may see. */

export const SHARD_ERROR_CODES = [
  /** The disk or the browser's quota is full. */
  'full',
  /** The server has no such file. */
  'not-found',
  /** The server can't be reached, or keeps failing. */
  'network',
  /** The bytes are not those that the manifest names. */
  'wrong-hash',
  /** The address is not that of a cut model, or its manifest is broken. */
  'bad-model',
  /** The store was written by a newer version of the app. */
  'outdated',
  /** A tab with an older version of the app is in the way. */
  'blocked',
  /** Another tab took over the download of the same file. */
  'busy',
] as const
export type ShardErrorCode = (typeof SHARD_ERROR_CODES)[number]

/** One clear sentence and a code; the code is in `name`, which survives postMessage. */
export class ShardError extends Error {
  constructor(
    readonly code: ShardErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
    this.name = `ShardError/${code}`
  }
}

/** The code of a shard error, also of one that crossed a worker border; else null. */
export function shardErrorCode(error: unknown): ShardErrorCode | null {
  if (!(error instanceof Error)) return null
  return SHARD_ERROR_CODES.find((code) => error.name === `ShardError/${code}`) ?? null
}

/** Bytes as "12.3 MB", rounded up. */
export function megabytes(bytes: number): string {
  return `${(Math.ceil(bytes / 1e5) / 10).toFixed(1)} MB`
}

/** @param missing bytes that still have to be stored, or null where unknown. */
export function fullError(name: string, missing: number | null, cause?: unknown) {
  const need = missing === null ? 'more room' : `${megabytes(missing)} more`
  return new ShardError(
    'full',
    `This device's storage is full: ${name} needs ${need}; free some space or remove a model that you no longer use.`,
    { cause },
  )
}

/** Whether a storage operation failed for want of room. */
export function isQuotaError(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  // Firefox wraps it: the transaction's error names the quota only in its message.
  return (
    error.name === 'QuotaExceededError' ||
    error.name === 'NS_ERROR_DOM_QUOTA_REACHED' ||
    (error.name === 'UnknownError' && /quota|disk.*full|no space/i.test(error.message))
  )
}
