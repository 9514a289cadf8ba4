/** What screens are shown, for tests: plain defaults, changed where a test cares. */
import type { DeviceView, RoomView } from '../types.ts'

export function deviceView(change: Partial<DeviceView> = {}): DeviceView {
  return {
    id: 'a',
    name: 'Anna',
    self: false,
    coordinator: false,
    engine: 'wasm',
    memoryBudget: 1e9,
    span: null,
    starter: false,
    state: { kind: 'ready' },
    leftOut: null,
    msPerLayer: null,
    msPerLayerPrefill: null,
    stageMs: null,
    slowdown: 1,
    holds: [],
    rttMs: null,
    links: [],
    memoryUsed: 0,
    memoryProbed: null,
    battery: null,
    visible: true,
    ...change,
  }
}

export function roomView(change: Partial<RoomView> = {}): RoomView {
  return {
    status: { kind: 'ready' },
    model: null,
    epoch: null,
    link: '',
    code: '',
    devices: [],
    lapMs: null,
    notes: [],
    messages: [],
    chat: { nodes: [], leaf: null },
    othersAsking: 0,
    knocks: [],
    notice: null,
    ...change,
  }
}
