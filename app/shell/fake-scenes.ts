/** Moments of a played room. */
import type { DeviceState, DeviceView, Message, RoomView } from '../room/types.ts'

const NAMES = ["Anna's phone", 'Pixel of Ben', 'Kitchen tablet', 'Cleo', "Dina's iPhone"]
const LAYERS = 30

export function phone(index: number, of: number, state: DeviceState): DeviceView {
  const from = Math.round((index * LAYERS) / of)
  const to = Math.round(((index + 1) * LAYERS) / of)
  const msPerLayer = state.kind === 'ready' ? (index === 1 ? 6.4 : 1.8 + index) : null
  return {
    id: `phone-${index}`,
    name: NAMES[index] ?? `Phone ${index + 1}`,
    self: index === 0,
    coordinator: index === 0,
    engine: index === 1 ? 'wasm' : 'webgpu',
    memoryBudget: [1.2e9, 4e8, 9e8, 6e8, 3e8][index] ?? 5e8,
    span: state.kind === 'joining' ? null : { from, to },
    starter: index === 0,
    state,
    leftOut: null,
    holds: [],
    msPerLayer,
    msPerLayerPrefill: msPerLayer && msPerLayer / 4,
    stageMs: msPerLayer && msPerLayer * (to - from),
    slowdown: 1,
    rttMs: index === 0 ? null : 4 + index * 3,
    links: Array.from({ length: of }, (_, other) => ({
      device: `phone-${other}`,
      rttMs: 4 + (index + other) * 2,
      bytesPerMs: 8000 - 1000 * (index + other),
    })).filter((_, other) => other !== index),
    memoryUsed: state.kind === 'ready' ? (to - from) * 4.6e6 : 0,
    memoryProbed: 1.4e9,
    battery: index === 2 ? { level: 0.18, charging: false } : null,
    visible: true,
  }
}

export const BASE: RoomView = {
  status: { kind: 'ready' },
  model: { name: 'SmolLM2 135M', layers: LAYERS, bytes: 139e6, context: 8192 },
  epoch: { term: 1, number: 1 },
  link: `${location.origin}/#room=vJ3mZk0qT7uYw2pXcA9e-Q`,
  code: 'KLMWRT',
  devices: [0, 1, 2].map((index) => phone(index, 3, { kind: 'ready' })),
  lapMs: 117,
  notes: [
    { at: Date.now() - 90_000, text: 'Dealt layers 0–29 to Anna, Ben and Cleo.' },
    {
      at: Date.now() - 20_000,
      text: 'Moved layers 12–14 from Anna to Ben: Anna slowed down 3 times.',
    },
  ],
  messages: [],
  chat: { nodes: [], leaf: null },
  othersAsking: 0,
  knocks: [],
  notice: null,
}

export const ANSWER = `Light from the sun holds **all colours**. On its way through the air it meets tiny molecules, and they scatter *short* waves far more than long ones.

1. Blue light is scattered about four times as much as red.
2. So blue reaches your eye from every direction.
3. At dusk the way through the air is longer, and mostly red is left.

The strength grows with the fourth power of the frequency:

\`\`\`python
def scatter(wavelength_nm):
    return (400 / wavelength_nm) ** 4

print(scatter(450) / scatter(700))  # 5.86 times as much
\`\`\`

| Colour | Wavelength | Scattered |
|---|---|---|
| Blue | 450 nm | 0.62 |
| Red | 700 nm | 0.11 |

Lord Rayleigh found this in 1871; see [his papers](https://example.org/rayleigh).`

const stats = {
  promptTokens: 34,
  reusedTokens: 20,
  newTokens: 187,
  laps: 186,
  prefillMs: 640,
  decodeMs: 15_200,
  firstTokenMs: 812,
}

const asked: Message = {
  id: 'q1',
  role: 'user',
  text: 'Why is the sky blue?',
  state: 'done',
}
const answered: Message = {
  id: 'a1',
  role: 'assistant',
  text: ANSWER,
  state: 'done',
  stats,
}
const more: Message = {
  id: 'q2',
  role: 'user',
  text: 'And why is it not violet?\nThat is even shorter.',
  state: 'done',
}

function last(message: Partial<Message>): RoomView {
  const answer: Message = {
    id: 'a2',
    role: 'assistant',
    text: '',
    state: 'waiting',
    ...message,
  }
  return {
    ...BASE,
    messages: [asked, { ...answered, text: 'Because of **scattering**.' }, more, answer],
  }
}

const fetching = (index: number, share: number): DeviceView =>
  phone(index, 3, { kind: 'fetching', doneBytes: 46e6 * share, totalBytes: 46e6 })

export const SCENES: Readonly<Record<string, RoomView>> = {
  connecting: {
    ...BASE,
    status: { kind: 'connecting' },
    devices: BASE.devices.slice(0, 1),
  },
  short: {
    ...BASE,
    status: { kind: 'short', missingBytes: 7.4e8 },
    model: { name: 'Qwen2.5 1.5B', layers: 28, bytes: 1.1e9, context: 32_768 },
    devices: [{ ...phone(0, 1, { kind: 'idle' }), span: null, memoryBudget: 5e8 }],
  },
  preparing: {
    ...BASE,
    status: { kind: 'preparing' },
    devices: [
      fetching(0, 0.82),
      fetching(1, 0.31),
      phone(2, 3, { kind: 'loading', doneBytes: 30e6, totalBytes: 46e6 }),
    ],
  },
  ready: BASE,
  chat: { ...BASE, messages: [asked, answered] },
  waiting: {
    ...last({}),
    status: { kind: 'preparing' },
    devices: [fetching(0, 0.5), fetching(1, 0.3), fetching(2, 0.9)],
  },
  streaming: last({
    state: 'streaming',
    text: 'Two reasons. First, the sun sends **less violet** than blue. Sec',
  }),
  stopped: last({
    state: 'stopped',
    continuable: true,
    text: 'Two reasons. First,',
    stats,
  }),
  failed: last({
    state: 'failed',
    text: 'Two reasons. First,',
    error:
      'Pixel of Ben left while it was needed, and the others lack 0.2 GB. Invite a phone, then ask again.',
  }),
  knock: {
    ...BASE,
    messages: [asked, answered],
    knocks: [{ id: 'k1', name: "Dina's iPhone", digits: '402871' }],
  },
  notice: {
    ...BASE,
    messages: [asked, answered],
    notice: 'Kitchen tablet left; its layers moved to Cleo.',
  },
  closed: {
    ...BASE,
    messages: [asked, answered],
    status: {
      kind: 'closed',
      message:
        'This phone lost the others for a minute. Check that it is on the same Wi-Fi.',
    },
  },
  live: last({
    state: 'streaming',
    text: 'Two reasons. First, the sun sends',
    live: { tokens: 1, ms: 0, firstTokenMs: 90 },
  }),
  full: {
    ...BASE,
    devices: Array.from({ length: 16 }, (_, index) => ({
      ...phone(index, 16, { kind: 'ready' }),
      ...(index === 3 && { name: 'The very long name of somebody’s telephone' }),
      visible: index !== 5,
    })),
  },
  crowd: {
    ...BASE,
    devices: [
      ...[0, 1, 2, 3].map((index) => phone(index, 4, { kind: 'ready' })),
      {
        ...phone(4, 4, {
          kind: 'failed',
          message:
            'This phone ran out of memory. Lend less in its settings, then reload.',
        }),
        span: null,
      },
      { ...phone(5, 6, { kind: 'idle' }), span: null },
    ],
  },
}
