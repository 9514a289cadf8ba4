/** How the devices of a room are called: nobody can tell two of one name apart. */
import type { RoomState } from './membership.ts'
import type { Facts } from './protocol.ts'

/**
 * Who came first has the name that it gave itself, each other one of that name a number behind
 * it. Empty: it has not told its name.
 */
export function namesIn(
  members: RoomState['members'],
  facts: ReadonlyMap<string, Pick<Facts, 'name'>>,
): ReadonlyMap<string, string> {
  const names = new Map<string, string>()
  const taken = new Set<string>()
  for (const { device } of [...members].sort((a, b) => a.join - b.join)) {
    const own = facts.get(device)?.name ?? ''
    let name = own
    for (let n = 2; own !== '' && taken.has(name); n++) name = `${own} ${n}`
    taken.add(name)
    names.set(device, name)
  }
  return names
}
