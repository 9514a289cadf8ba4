/** A name for this device until its owner gives one: a singing bird and what it is. */

const BIRDS = [
  'Wren', 'Robin', 'Lark', 'Finch', 'Thrush', 'Linnet', 'Siskin', 'Dunnock', 'Warbler',
  'Starling', 'Oriole', 'Bunting', 'Pipit', 'Nightingale', 'Blackcap', 'Goldcrest',
] // prettier-ignore

const KINDS: readonly (readonly [RegExp, string])[] = [
  [/iPhone/, 'iPhone'],
  [/iPad/, 'iPad'],
  [/Android.*Mobile/, 'Android phone'],
  [/Android/, 'Android tablet'],
  [/Macintosh/, 'Mac'],
  [/Windows/, 'PC'],
  [/CrOS/, 'Chromebook'],
]

/** @param chance in [0, 1). */
export function deviceName(agent: string, chance: number): string {
  const bird = BIRDS[Math.floor(chance * BIRDS.length)] ?? 'Wren'
  const kind = KINDS.find(([pattern]) => pattern.test(agent))?.[1] ?? 'computer'
  return `${bird}’s ${kind}`
}

const KEY = 'choir.device-name'

/** Keeps the name across reloads of this tab. */
export function keptName(store: Storage | null, agent: string, chance: number): string {
  try {
    const name = store?.getItem(KEY) ?? deviceName(agent, chance)
    store?.setItem(KEY, name)
    return name
  } catch {
    return deviceName(agent, chance)
  }
}
