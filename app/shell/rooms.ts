/** How the screen gets a room. Implemented over app/room; the fake one is for design. */
import type { RoomSession } from '../room/types.ts'

export interface KnockOptions {
  readonly signal: AbortSignal
  /** Six digits that the people in the room see too. */
  readonly onDigits: (digits: string) => void
}

/** Every rejection carries one sentence for people in `message`. */
export interface Rooms {
  /** A new room with a new secret. */
  create(signal: AbortSignal): Promise<RoomSession>
  /** By the whole link, secret included. */
  join(link: string, signal: AbortSignal): Promise<RoomSession>
  /**
   * Back into a room that this tab was in. Where nobody is left, the room is opened again with
   * the same secret, so that its links lead here.
   */
  rejoin(link: string, signal: AbortSignal): Promise<RoomSession>
  /** By six letters; resolves when somebody in the room allows it. */
  knock(code: string, options: KnockOptions): Promise<RoomSession>
}
