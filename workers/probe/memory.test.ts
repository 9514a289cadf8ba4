import { describe, expect, it } from 'vitest'
import { CAP, capFor, IOS_CAP, isIos, probeMemory } from './memory.ts'
import type { MakeMemory } from './memory.ts'
import type { DeviceHints } from './types.ts'

const MIB = 2 ** 20
const desktop: DeviceHints = {
  userAgent: 'Mozilla/5.0 (X11; Linux x86_64)',
  touchPoints: 0,
  deviceMemory: null,
}
const iphone = { ...desktop, userAgent: 'Mozilla/5.0 (iPhone; CPU iPhone OS 26_0)' }

/** A browser that gives so many bytes, and reserves no larger maximum than that. */
function browser(available: number, reservable = Infinity) {
  const made: { maximum: number }[] = []
  const make: MakeMemory = ({ initial, maximum }) => {
    if (maximum * 65_536 > reservable) throw new RangeError('could not allocate memory')
    made.push({ maximum: maximum * 65_536 })
    let pages = initial
    return {
      get buffer() {
        return { byteLength: pages * 65_536 }
      },
      grow(more) {
        if ((pages + more) * 65_536 > available || pages + more > maximum)
          throw new RangeError('Unable to grow instance memory')
        pages += more
        return pages - more
      },
    }
  }
  return { make, made }
}

describe('the memory probe', () => {
  it.each([
    ['a desktop gives all that is asked for', desktop, 8192 * MIB, CAP],
    ['a phone gives less', desktop, 500 * MIB, 448 * MIB],
    ['an iPhone is asked for less', iphone, 8192 * MIB, IOS_CAP],
    ['nothing to be had', desktop, 10 * MIB, 0],
  ])('%s', (_, hints, available, grown) => {
    const report = probeMemory(hints, browser(available).make)
    expect(report.grown).toBe(grown)
    expect(report.budget).toBe(Math.floor(grown * 0.7))
  })

  it('asks for a smaller maximum where a large one is refused at once', () => {
    const { make, made } = browser(8192 * MIB, 700 * MIB)
    expect(probeMemory(desktop, make).grown).toBe(640 * MIB)
    expect(made).toEqual([{ maximum: 640 * MIB }])
  })

  it('works with a real memory', () => {
    const report = probeMemory(
      { ...desktop, deviceMemory: 0.25 },
      (limits) => new WebAssembly.Memory({ ...limits }),
    )
    expect(report).toEqual({
      grown: 128 * MIB,
      cap: 128 * MIB,
      budget: Math.floor(128 * MIB * 0.7),
    })
  })

  it('knows iPads that pretend to be Macs', () => {
    const mac = { ...desktop, userAgent: 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15)' }
    expect(isIos(mac)).toBe(false)
    expect(isIos({ ...mac, touchPoints: 5 })).toBe(true)
  })

  it('never takes more than half of a small device', () => {
    expect(capFor({ ...desktop, deviceMemory: 2 })).toBe(1024 * MIB)
    expect(capFor({ ...desktop, deviceMemory: 8 })).toBe(CAP)
    expect(capFor({ ...iphone, deviceMemory: 8 })).toBe(IOS_CAP)
  })
})
