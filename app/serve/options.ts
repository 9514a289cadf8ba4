/** What `npm start` was asked for. */
import { parseArgs } from 'node:util'

export const DEFAULT_PORT = 4173

export interface StartOptions {
  readonly reach: 'loopback' | 'lan'
  readonly port: number
}

/** @throws Error with one sentence saying what is wrong. */
export function startOptions(args: readonly string[]): StartOptions {
  const { values } = parseArgs({
    args: [...args],
    options: { lan: { type: 'boolean' }, port: { type: 'string' } },
  })
  const port = values.port === undefined ? DEFAULT_PORT : Number(values.port)
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new Error(`--port takes a number from 0 to 65535, not "${values.port ?? ''}".`)
  return { reach: values.lan ? 'lan' : 'loopback', port }
}
