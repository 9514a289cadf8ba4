/** Why an answer is not there yet, in words. */
import type { RoomView } from '../room/types.ts'
import { shortage } from '../shell/format.ts'

export function waitingWords({ status, othersAsking }: RoomView): string {
  switch (status.kind) {
    case 'ready':
      if (othersAsking === 0) return 'Reading your question …'
      return othersAsking === 1
        ? 'Reading your question … Somebody else is asking too, so the phones take turns.'
        : `Reading your question … ${othersAsking} others are asking too, so the phones take turns.`
    case 'short':
      return `Your question waits: the phones lack ${shortage(status.missingBytes)} of memory. Invite another one.`
    case 'closed':
      return ''
    default:
      return 'The room is still getting ready – your question waits.'
  }
}
