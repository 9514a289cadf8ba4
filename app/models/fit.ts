/** Whether the room can hold the model, in words. */
import type { RoomView } from '../room/types.ts'
import { bytes, count, shortage } from '../shell/format.ts'

export function fitWords({ status, devices }: RoomView): string {
  const lent = devices.reduce((sum, { memoryBudget }) => sum + memoryBudget, 0)
  const phones = `${count(devices.length, 'phone lends', 'phones lend')} ${bytes(lent)}`
  return status.kind === 'short'
    ? `${phones}. ${shortage(status.missingBytes)} more is needed: invite another phone.`
    : `${phones}.`
}
