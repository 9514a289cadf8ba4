import { expect, it } from 'vitest'
import { deviceView, roomView } from '../room/testing/views.ts'
import type { DeviceView, RoomView } from '../room/types.ts'
import { layersWords } from '../devices/words.ts'
import { fitWords } from './fit.ts'

const device = deviceView({
  self: true,
  coordinator: true,
  memoryBudget: 6e8,
  span: { from: 4, to: 12 },
  starter: true,
})

const view = (status: RoomView['status'], devices: DeviceView[]): RoomView =>
  roomView({ status, devices })

it('says what is lent and what is missing', () => {
  const text = fitWords(view({ kind: 'short', missingBytes: 3e8 }, [device]))
  expect(text.replaceAll('\u00a0', ' ')).toBe(
    '1 phone lends 600 MB. 0.3 GB more is needed: invite another phone.',
  )
  expect(fitWords(view({ kind: 'ready' }, [device, device]))).not.toContain('missing')
})

it('counts layers from 1, as people do', () => {
  const words = (span: DeviceView['span']): string =>
    layersWords({ ...device, span }).replaceAll('\u00a0', ' ')
  expect(words({ from: 4, to: 12 })).toBe('8 layers (5–12)')
  expect(words({ from: 4, to: 5 })).toBe('1 layer (5)')
  expect(words({ from: 0, to: 0 })).toBe('Reads and writes the words')
  expect(layersWords({ ...device, span: null, starter: false })).toBe('No layers')
})
