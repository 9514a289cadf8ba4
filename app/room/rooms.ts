/** How a device gets into a room. */
import { knockAt } from './knock.ts'
import { modelAddress } from './model-url.ts'
import { newSecret, parseLink, type Secret } from './secret.ts'
import { Session, type RoomOptions } from './session.ts'

/**
 * A new room with a new secret; or with the secret of an old one, so that its links lead
 * here. It is there at once, also without a server or a network.
 * @throws Error with one sentence for people where the model's address is not allowed.
 */
export function createRoom(options: RoomOptions, secret?: Secret): Session {
  modelAddress(options.model, options.page)
  const session = new Session(options, secret ?? newSecret(options.random))
  session.open()
  return session
}

/**
 * By the whole link, or its fragment.
 * @throws Error with one sentence for people.
 */
export async function joinByLink(
  options: RoomOptions,
  link: string,
  signal: AbortSignal,
): Promise<Session> {
  const secret = parseLink(link)
  if (!secret)
    throw new Error(
      'This is no link to a room, or a part of it is missing. Scan it again.',
    )
  return joinBySecret(options, secret, signal)
}

/**
 * By six letters; somebody in the room must allow it.
 * @param onDigits six digits that the people in the room see too.
 * @throws Error with one sentence for people.
 */
export async function joinByCode(
  options: RoomOptions,
  code: string,
  { signal, onDigits }: { signal: AbortSignal; onDigits: (digits: string) => void },
): Promise<Session> {
  const secret = await knockAt({ ...options, code }, signal, onDigits)
  return joinBySecret(options, secret, signal)
}

async function joinBySecret(
  options: RoomOptions,
  secret: Secret,
  signal: AbortSignal,
): Promise<Session> {
  const session = new Session(options, secret)
  await session.join(signal)
  return session
}
