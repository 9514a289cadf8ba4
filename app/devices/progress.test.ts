import { describe, expect, it } from 'vitest'
import { deviceView, roomView } from '../room/testing/views.ts'
import type { DeviceState, DeviceView, RoomView } from '../room/types.ts'
import { deviceFraction, RateMeter, roomProgress } from './progress.ts'
import { statusWords } from './status.ts'

const device = (state: DeviceState): DeviceView => deviceView({ state })

const view = (devices: DeviceView[], status: RoomView['status']): RoomView =>
  roomView({ status, devices })

describe('roomProgress', () => {
  it('counts the phones that still download before those that load', () => {
    const devices = [
      device({ kind: 'fetching', doneBytes: 10, totalBytes: 100 }),
      device({ kind: 'fetching', doneBytes: 90, totalBytes: 100 }),
      device({ kind: 'loading', doneBytes: 5, totalBytes: 10 }),
      device({ kind: 'ready' }),
    ]
    expect(roomProgress(devices)).toEqual({ phase: 'fetching', done: 100, total: 200 })
    expect(roomProgress(devices.slice(2))).toEqual({
      phase: 'loading',
      done: 5,
      total: 10,
    })
    expect(roomProgress(devices.slice(3))).toBeNull()
  })

  it('never shows a fraction above 1 or of nothing', () => {
    expect(deviceFraction(device({ kind: 'loading', doneBytes: 9, totalBytes: 3 }))).toBe(
      1,
    )
    expect(deviceFraction(device({ kind: 'loading', doneBytes: 0, totalBytes: 0 }))).toBe(
      0,
    )
  })
})

describe('RateMeter', () => {
  it('needs a second, then follows the newest speed', () => {
    const meter = new RateMeter(4000)
    meter.add(0, 0, 100)
    meter.add(500, 5, 100)
    expect(meter.secondsLeft()).toBeNull()
    meter.add(1000, 10, 100)
    expect(meter.secondsLeft()).toBeCloseTo(9)
    for (let s = 2; s <= 8; s += 1) meter.add(s * 1000, 10 + (s - 1) * 2, 100)
    expect(meter.secondsLeft()).toBeCloseTo((100 - 24) / 2)
  })

  it('starts anew when the plan changes, and says nothing when nothing arrives', () => {
    const meter = new RateMeter()
    meter.add(0, 50, 100)
    meter.add(2000, 60, 100)
    meter.add(3000, 10, 40)
    expect(meter.secondsLeft()).toBeNull()
    meter.add(9000, 10, 40)
    expect(meter.secondsLeft()).toBeNull()
  })
})

describe('statusWords', () => {
  it('says percent, megabytes and time while downloading', () => {
    const devices = [device({ kind: 'fetching', doneBytes: 60e6, totalBytes: 140e6 })]
    const words = statusWords(view(devices, { kind: 'preparing' }), 36)
    expect(words.text.replaceAll('\u00a0', ' ')).toBe('42 % · 60 of 140 MB · about 40 s')
  })

  it('names the phone that failed and what is missing', () => {
    const failed = [device({ kind: 'failed', message: 'x' })]
    expect(statusWords(view(failed, { kind: 'preparing' }), null).text).toMatch(
      /^Anna has/,
    )
    const short = statusWords(view([], { kind: 'short', missingBytes: 740e6 }), null)
    expect(short.text.replaceAll('\u00a0', ' ')).toBe('Short by 0.8 GB')
  })
})
