import { describe, expect, it } from 'vitest'
import { isIos, judge, type BrowserFacts } from './preflight.ts'

const facts: BrowserFacts = {
  deviceMemory: 8,
  ios: false,
  secure: true,
  webrtc: true,
  wasm: true,
  gpuAdapter: true,
}

describe('judge', () => {
  it('stays below what iOS allows a page', () => {
    expect(judge({ ...facts, ios: true }).memoryBytes).toBeLessThan(1.2e9)
  })

  it('lends something on any device, and is cautious where nothing is known', () => {
    expect(judge({ ...facts, deviceMemory: 0.25 }).memoryBytes).toBe(300e6)
    expect(judge({ ...facts, deviceMemory: undefined }).memoryBytes).toBe(1200e6)
  })

  it('says what does not work', () => {
    expect(judge(facts).problems).toEqual([])
    expect(judge({ ...facts, secure: false }).problems[0]).toContain('https')
    expect(judge({ ...facts, webrtc: false }).problems[0]).toContain('alone')
    expect(judge({ ...facts, wasm: false }).problems[0]).toContain('update')
  })
})

it('knows an iPad that calls itself a Mac', () => {
  expect(isIos('Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)', 5)).toBe(true)
  expect(isIos('Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)', 0)).toBe(false)
})
