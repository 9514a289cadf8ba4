/**
 * A crumb on the way into a risky load. A tab that the system kills leaves no error, only the
 * crumb: if it is still there at the next start, the budget is halved and a sentence says so.
 * Belongs to the page (workers have no localStorage); everything it touches is injected.
 */
import * as v from 'valibot'

/** localStorage, or anything like it; may throw where storage is denied. */
export interface CrumbStorage {
  getItem(key: string): string | null
  setItem(key: string, value: string): void
  removeItem(key: string): void
}

const CRUMB = 'choir.crumb'
const HALVINGS = 'choir.halvings'
/** A budget is never cut below 1/16, or a few unlucky reloads would shut a device out. */
const MAX_HALVINGS = 4

const crumbSchema = v.object({
  /** What was being loaded, for people: "layers 4 to 12 of SmolLM2". */
  what: v.string(),
  /** Random name of the tab that loads. */
  tab: v.string(),
})
export type Crumb = v.InferOutput<typeof crumbSchema>

/** Before a risky load. */
export function dropCrumb(storage: CrumbStorage, crumb: Crumb): void {
  quietly(() => {
    storage.setItem(CRUMB, JSON.stringify(crumb))
  })
}

/** When the load has ended, well or with an error; also on `pagehide`, as leaving is no crash. */
export function pickUpCrumb(storage: CrumbStorage): void {
  quietly(() => {
    storage.removeItem(CRUMB)
  })
}

export interface CrumbReport {
  /** Bytes. */
  readonly budget: number
  /** One sentence for people where the last load ended the tab, else null. */
  readonly notice: string | null
}

/**
 * At the start of a page.
 * @param budget what the memory probe allows, bytes.
 * @param isAlive whether the tab of that name is still open (then its load still runs).
 */
export async function budgetAfterCrash(
  storage: CrumbStorage,
  budget: number,
  isAlive: (tab: string) => Promise<boolean>,
): Promise<CrumbReport> {
  let halvings = readHalvings(storage)
  const crumb = readCrumb(storage)
  const crashed = crumb !== null && !(await isAlive(crumb.tab))
  if (crashed) {
    halvings = Math.min(MAX_HALVINGS, halvings + 1)
    pickUpCrumb(storage)
    quietly(() => {
      storage.setItem(HALVINGS, String(halvings))
    })
  }
  return {
    budget: Math.floor(budget / 2 ** halvings),
    notice: crashed
      ? `The browser closed this page while it was loading ${crumb.what}, so it now takes half as much memory.`
      : null,
  }
}

/** Back to the whole budget (a button in the settings). */
export function forgetCrashes(storage: CrumbStorage): void {
  pickUpCrumb(storage)
  quietly(() => {
    storage.removeItem(HALVINGS)
  })
}

/**
 * Holds a Web Lock as long as the tab lives, and asks for those of others. Without Web Locks
 * every other tab counts as gone.
 */
export function tabLife(
  locks: Pick<LockManager, 'request' | 'query'> | undefined,
  tab: string,
): (other: string) => Promise<boolean> {
  const nameOf = (name: string) => `choir-tab-${name}`
  void locks
    ?.request(nameOf(tab), () => new Promise<never>(() => undefined))
    .catch(() => undefined)
  return async (other) => {
    const held = (await locks?.query())?.held ?? []
    return held.some((lock) => lock.name === nameOf(other))
  }
}

function readCrumb(storage: CrumbStorage): Crumb | null {
  return quietly(() => {
    const text = storage.getItem(CRUMB)
    return text === null ? null : v.parse(crumbSchema, JSON.parse(text))
  })
}

function readHalvings(storage: CrumbStorage): number {
  const value = quietly(() => Number(storage.getItem(HALVINGS)))
  return value !== null && Number.isInteger(value) && value >= 0
    ? Math.min(value, MAX_HALVINGS)
    : 0
}

/** Storage that is denied or full, or text that someone else wrote, is as good as none. */
function quietly<T>(work: () => T): T | null {
  try {
    return work()
  } catch {
    return null
  }
}
