/** One file from the network into the store, whatever the network does. */
import { backoff, MAX_RETRY_AFTER_MS, MAX_TRIES } from './backoff.ts'
import { within } from './clock.ts'
import type { Clock } from './clock.ts'
import { ShardError } from './errors.ts'
import { Intake } from './intake.ts'
import { requestRest } from './request.ts'
import type { Fetcher } from './request.ts'
import type { ShardStore } from './store.ts'

export interface Network {
  readonly fetch: Fetcher
  readonly clock: Clock
  /** In [0, 1). */
  readonly random: () => number
  /** Origin of the app. */
  readonly origin: string | null
}

export interface WantedFile {
  readonly sha256: string
  readonly bytes: number
  readonly url: string
  /** For people. */
  readonly name: string
}

/** A connection that gives nothing for so long is given up. */
export const STALL_MS = 30_000
/** New bytes after which earlier failures are forgotten. */
const PROGRESS_BYTES = 64 * 2 ** 10

/**
 * Makes the file complete. Goes on from stored bytes, retries, begins anew where the server's
 * file has changed or the bytes turn out wrong.
 * @param onBytes bytes of the file that are here (falls back when it begins anew) and bytes
 * that just came over the network.
 * @throws ShardError; the signal's reason. What has arrived stays stored.
 */
export async function download(
  file: WantedFile,
  store: ShardStore,
  network: Network,
  onBytes: (here: number, fetched: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const intake = await Intake.begin(store, file.sha256, file.bytes, signal)
  if (intake === 'complete') {
    onBytes(file.bytes, 0)
    return
  }
  onBytes(intake.received, 0)
  try {
    for (let wrong = 0; ; wrong++) {
      await receiveAll(file, intake, network, onBytes, signal)
      if (await intake.finish()) return
      await intake.restart()
      onBytes(0, 0)
      if (wrong === 1) throw wrongHash(file)
    }
  } catch (error) {
    // Short of a chunk, but worth keeping; where the disk is full this fails once more.
    await intake.flush().catch(() => undefined)
    throw error
  }
}

function wrongHash({ name }: WantedFile): ShardError {
  return new ShardError(
    'wrong-hash',
    `${name} arrived twice with wrong bytes (its SHA-256 is not the one in the manifest); the copy on the server is damaged, so ask whoever published the model to upload it again.`,
  )
}

/** Requests until all bytes are here. */
async function receiveAll(
  file: WantedFile,
  intake: Intake,
  network: Network,
  onBytes: (here: number, fetched: number) => void,
  signal: AbortSignal,
): Promise<void> {
  let failures = 0
  let best = intake.received
  while (intake.received < file.bytes) {
    signal.throwIfAborted()
    const outcome = await receive(file, intake, network, onBytes, signal)
    if (intake.received >= file.bytes) return
    if (intake.received >= best + PROGRESS_BYTES) {
      best = intake.received
      failures = 0
    }
    failures += 1
    if (failures >= MAX_TRIES || outcome.after > MAX_RETRY_AFTER_MS)
      throw unreachable(file, outcome.why)
    const pause = backoff(failures, network.random())
    await network.clock.sleep(Math.max(pause, outcome.after), signal)
  }
}

function unreachable({ name }: WantedFile, why: string): ShardError {
  return new ShardError(
    'network',
    `The download of ${name} stopped (${why}); check the connection and try again, what has arrived is kept.`,
  )
}

interface Outcome {
  readonly why: string
  /** Milliseconds that the server asked to wait. */
  readonly after: number
}

/** One request; ends when the connection does. */
async function receive(
  file: WantedFile,
  intake: Intake,
  network: Network,
  onBytes: (here: number, fetched: number) => void,
  signal: AbortSignal,
): Promise<Outcome> {
  const connection = new AbortController()
  const onAbort = () => {
    connection.abort(signal.reason)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    const answer = await attempt(
      within(
        network.clock,
        STALL_MS,
        requestRest(
          network.fetch,
          {
            url: file.url,
            start: intake.received,
            etag: intake.etag,
            origin: network.origin,
          },
          network.clock.now(),
          connection.signal,
        ),
      ),
    )
    signal.throwIfAborted()
    if (answer === null) return { why: 'the server could not be reached', after: 0 }
    switch (answer.kind) {
      case 'refused':
        throw new ShardError(
          'not-found',
          `The server has no ${file.name} (it answered ${answer.status}); the model's folder is incomplete or has moved.`,
        )
      case 'later':
        return { why: `the server answered ${answer.status}`, after: answer.after }
      case 'anew':
        await intake.restart()
        onBytes(0, 0)
        return { why: 'the file on the server has changed', after: 0 }
      case 'body':
        if (answer.start !== intake.received) {
          await intake.restart()
          onBytes(0, 0)
        }
        intake.etag = answer.etag
    }
    const reader = answer.body.getReader()
    for (;;) {
      const part = await attempt(within(network.clock, STALL_MS, reader.read()))
      signal.throwIfAborted()
      if (part === null || part.done) return { why: 'the connection broke off', after: 0 }
      await intake.write(part.value)
      onBytes(intake.received, part.value.byteLength)
      if (intake.received >= file.bytes) return { why: 'done', after: 0 }
    }
  } finally {
    signal.removeEventListener('abort', onAbort)
    // Ends a stalled connection, and one that would send more than the file has.
    connection.abort()
  }
}

/** Null where the network failed in whatever way. */
async function attempt<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work
  } catch {
    return null
  }
}
