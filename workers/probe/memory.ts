/**
 * How much memory can really be had. What a device reports says little: of two phones with
 * 6 GB one gives a tab 400 MB and the other 4 GB, so the probe tries.
 */
import type { DeviceHints, MemoryReport } from './types.ts'

const MIB = 2 ** 20
const PAGE = 65_536
/** Growth per try: fine enough for a budget, coarse enough to be quick. */
const STEP = 64 * MIB
/** WASM engines rarely need more, and address space is short on 32-bit phones. */
export const CAP = 2048 * MIB
/** iOS ends a tab near 1.5 GB, counting what page and runtime take themselves. */
export const IOS_CAP = 1024 * MIB
/**
 * The part of what is available that a device offers: LinguaLinked plans with 0.7
 * (arXiv 2312.00388, `mem_threshold`).
 */
export const SHARE = 0.7

/** What `WebAssembly.Memory` is used for here. */
export interface GrowableMemory {
  readonly buffer: { readonly byteLength: number }
  grow(pages: number): number
}
/** @throws RangeError where so much can't be reserved. */
export type MakeMemory = (limits: {
  readonly initial: number
  readonly maximum: number
}) => GrowableMemory

/** iPads pretend to be Macs, but Macs have no touch screen. */
export function isIos({ userAgent, touchPoints }: DeviceHints): boolean {
  return (
    /iPhone|iPad|iPod/.test(userAgent) || (/Macintosh/.test(userAgent) && touchPoints > 1)
  )
}

/** Bytes that are tried for at most: never more than half of a known small memory. */
export function capFor(hints: DeviceHints): number {
  const cap = isIos(hints) ? IOS_CAP : CAP
  const half = (hints.deviceMemory ?? Infinity) * 512 * MIB
  return Math.min(cap, half)
}

/**
 * Grows a WASM memory until the browser refuses, and lets it go. Pages are reserved and not
 * written: writing could end the tab. Run in a worker that is terminated afterwards, which is
 * the one way to give the memory back at once.
 */
export function probeMemory(hints: DeviceHints, make: MakeMemory): MemoryReport {
  const cap = capFor(hints)
  const grown = growTo(cap, make)
  return { grown, cap, budget: Math.floor(grown * SHARE) }
}

function growTo(cap: number, make: MakeMemory): number {
  // Some browsers reserve the maximum at once and refuse a large one: ask for less then.
  for (let maximum = cap; maximum >= STEP; maximum -= STEP) {
    try {
      const memory = make({ initial: 1, maximum: Math.floor(maximum / PAGE) })
      for (let want = STEP; want <= maximum; want += STEP) {
        try {
          memory.grow((want - memory.buffer.byteLength) / PAGE)
        } catch {
          break
        }
      }
      if (memory.buffer.byteLength >= STEP) return memory.buffer.byteLength
    } catch {
      continue
    }
  }
  return 0
}
