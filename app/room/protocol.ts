/**
 * All control messages, as they travel on a wire's control channel: JSON texts. Documented
 * for people in docs/protocol.md. Whoever reads one treats the sender as the member that the
 * wire was proven to be; no message names its own sender.
 */
import * as v from 'valibot'
import { MOST_NOTES } from './membership.ts'
import { SLOTS } from './secret.ts'

export const PROTOCOL_VERSION = 4
/** No message is longer, in UTF-16 units; checked before anything is parsed. */
export const MAX_MESSAGE_LENGTH = 65_536

const MAX_LAYERS = 4096
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const word = v.pipe(count, v.maxValue(0xffff_ffff))
const bytes = v.pipe(count, v.maxValue(2 ** 50))
const milliseconds = v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(1e9))
const share = v.pipe(v.number(), v.minValue(0), v.maxValue(1))
/** Of bulk data, bytes per ms. */
const bandwidth = v.pipe(v.number(), v.finite(), v.gtValue(0), v.maxValue(1e9))
/** Milliseconds since 1970. */
const time = v.pipe(count, v.maxValue(8.64e15))
const layer = v.pipe(count, v.maxValue(MAX_LAYERS))
/** 128 bits, base64url. */
const id = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{22}$/))
/** Start of the page in ms since 1970, base 36, and 64 random bits: later ones sort later. */
const instance = v.pipe(v.string(), v.regex(/^[0-9a-z]{9}-[A-Za-z0-9_-]{11}$/))
/** SHA-256 or HMAC-SHA-256, base64url. */
const digest = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/))
// Control characters would break the line that a name or sentence is shown on.
const line = (longest: number) =>
  v.pipe(v.string(), v.maxLength(longest), v.regex(/^[^\p{Cc}\u2028\u2029]*$/u))
const name = line(40)
const sentence = line(300)
const digits = v.pipe(v.string(), v.regex(/^[0-9]{6}$/))

const epoch = v.strictObject({ term: word, number: word })

/** A device holds at most so many layers beside its span. */
export const MAX_HELD = 256
/** Indices of layers, ascending. */
const overlap = v.pipe(
  v.array(layer),
  v.maxLength(MAX_HELD),
  v.check((layers) => layers.every((at, i) => i === 0 || at > (layers[i - 1] ?? at))),
  v.readonly(),
)

const stage = v.pipe(
  v.strictObject({ device: id, from: layer, to: layer, hold: v.exactOptional(overlap) }),
  v.check(
    ({ from, to, hold = [] }) => hold.every((at) => at < from || at >= to),
    'What a stage holds besides its span lies outside of it.',
  ),
)

const plan = v.strictObject({
  epoch,
  stages: v.pipe(
    v.array(stage),
    v.minLength(1),
    v.maxLength(SLOTS),
    v.check((stages) => {
      const follows = stages.every(
        ({ from, to }, i) => from === (stages[i - 1]?.to ?? 0) && from <= to,
      )
      return follows && new Set(stages.map(({ device }) => device)).size === stages.length
    }, 'The spans of a plan follow one another, one for each device.'),
    v.readonly(),
  ),
})

const state = v.pipe(
  v.strictObject({
    term: word,
    number: count,
    coordinator: id,
    model: line(500),
    nextJoin: v.pipe(count, v.maxValue(65_536)),
    planNumber: word,
    members: v.pipe(
      v.array(
        v.strictObject({
          device: id,
          instance,
          join: v.pipe(count, v.minValue(1), v.maxValue(65_535)),
        }),
      ),
      v.minLength(1),
      v.maxLength(SLOTS),
      v.readonly(),
    ),
    active: v.nullable(plan),
    next: v.nullable(plan),
    missingBytes: v.nullable(bytes),
    benched: v.pipe(
      v.array(v.strictObject({ device: id, reason: sentence })),
      v.maxLength(SLOTS),
      v.readonly(),
    ),
    leftOut: v.pipe(
      v.array(v.strictObject({ device: id, why: sentence })),
      v.maxLength(SLOTS),
      v.readonly(),
    ),
    notes: v.pipe(
      v.array(v.strictObject({ at: time, text: sentence })),
      v.maxLength(MOST_NOTES),
      v.readonly(),
    ),
  }),
  v.check(({ members, coordinator, nextJoin }) => {
    const ids = new Set(members.map((member) => member.device))
    const rising = members.every(
      (member, i) => i === 0 || member.join > (members[i - 1]?.join ?? 0),
    )
    return (
      ids.size === members.length &&
      rising &&
      ids.has(coordinator) &&
      members.every((member) => member.join < nextJoin)
    )
  }, 'Each member once, by join number, the coordinator among them.'),
)

const progress = { doneBytes: bytes, totalBytes: bytes }
const deviceState = v.variant('kind', [
  v.strictObject({ kind: v.literal('joining') }),
  v.strictObject({ kind: v.literal('idle') }),
  v.strictObject({ kind: v.literal('fetching'), ...progress }),
  v.strictObject({ kind: v.literal('loading'), ...progress }),
  v.strictObject({ kind: v.literal('ready') }),
  v.strictObject({ kind: v.literal('failed'), message: sentence }),
])

/** What a device says of itself. */
const facts = v.strictObject({
  name,
  engine: v.picklist(['wasm', 'webgpu']),
  memoryBudget: bytes,
  memoryUsed: bytes,
  /** What a probe could get when the page was opened; null where it was not asked. */
  memoryProbed: v.nullable(bytes),
  /** How it keeps its weights; null before it has any. */
  mode: v.nullable(v.picklist(['dense', 'lean', 'packed'])),
  /** Running estimates from its own work: one token through one layer; */
  msPerLayer: v.nullable(milliseconds),
  /** one row of a prompt through one layer; */
  msPerLayerPrefill: v.nullable(milliseconds),
  /** embedding, head and sampling of one token. */
  msStarter: v.nullable(milliseconds),
  /** Its speed at work against what it usually is: 1 as ever, 3 three times as slow. */
  slowdown: v.pipe(v.number(), v.minValue(0), v.maxValue(1e6)),
  /** On the starter: the newest laps under a plan, while one answer ran. */
  lap: v.nullable(v.strictObject({ epoch, ms: milliseconds })),
  /** Layers beside its span whose weights are in its memory. */
  holds: overlap,
  /** Devices to which its frames channel is open: round trip, and bandwidth from there. */
  links: v.pipe(
    v.array(
      v.strictObject({
        device: id,
        rttMs: v.nullable(milliseconds),
        bytesPerMs: v.nullable(bandwidth),
      }),
    ),
    v.maxLength(SLOTS),
    v.readonly(),
  ),
  state: deviceState,
  /** How far it is with the plan that is to be prepared. */
  prepared: v.nullable(
    v.strictObject({ epoch, result: v.picklist(['working', 'ready', 'failed']) }),
  ),
  /** Answers that it waits for. */
  running: v.pipe(count, v.maxValue(1000)),
  /** Null where the browser does not tell. */
  battery: v.nullable(v.strictObject({ level: share, charging: v.boolean() })),
  /** Whether the page is looked at; browsers slow hidden ones down. */
  visible: v.boolean(),
})

const empty = {}
const bye = v.picklist([
  'leaving',
  'full',
  'duplicate',
  'replaced',
  'version',
  'unproven',
])
const denial = v.picklist(['denied', 'busy', 'timeout'])

/** Schema and longest text of each type. */
const types = {
  /** First message of both ends of a wire. */
  hello: [{ version: word, device: id, instance, nonce: id }, 400],
  /**
   * Second message of both ends: see proof.ts. `linked`: there is a proven link to this
   * page load of the other end already.
   */
  proof: [{ mac: digest, linked: v.boolean() }, 200],
  /** The end with the lower device id keeps this wire; the other end agrees. */
  accept: [empty, 100],
  accepted: [empty, 100],
  /** Last message on a wire: why its sender closes it. */
  bye: [{ reason: bye }, 100],

  /** Once a second; answered by `pong`. Says which state the sender holds. */
  ping: [
    {
      n: word,
      rank: v.nullable(v.strictObject({ term: word, number: count, coordinator: id })),
    },
    300,
  ],
  pong: [{ n: word }, 100],
  /** The room's state, when it changed or when a ping shows an older one. */
  state: [{ state }, MAX_MESSAGE_LENGTH],
  facts: [{ facts }, 8192],
  /** From the coordinator: who stands at the door. */
  knocks: [
    {
      knocks: v.pipe(
        v.array(v.strictObject({ id, name, digits })),
        v.maxLength(8),
        v.readonly(),
      ),
    },
    2048,
  ],
  /** To the coordinator: somebody pressed Allow or Deny. */
  verdict: [{ knock: id, allow: v.boolean() }, 200],

  /** At the door, where nothing is proven. Guest: name, and a commitment to its nonce. */
  knock: [{ version: word, name, commitment: digest }, 800],
  /** Host: its nonce. */
  'knock-nonce': [{ nonce: id }, 200],
  /** Guest: the nonce it committed to. Both show six digits now. */
  'knock-reveal': [{ nonce: id }, 200],
  /** Host: the room's secret. */
  admitted: [{ secret: id }, 200],
  denied: [{ reason: denial }, 200],
} as const satisfies Record<string, readonly [v.ObjectEntries, number]>

export type MessageType = keyof typeof types
type Body<T extends MessageType> = (typeof types)[T] extends readonly [
  infer Entries extends v.ObjectEntries,
  number,
]
  ? v.InferOutput<v.StrictObjectSchema<Entries, undefined>>
  : never
export type Message = {
  [T in MessageType]: { readonly type: T } & Readonly<Body<T>>
}[MessageType]
export type MessageOf<T extends MessageType> = Extract<Message, { readonly type: T }>
export type Facts = v.InferOutput<typeof facts>
export type DenialReason = v.InferOutput<typeof denial>
export type ByeReason = v.InferOutput<typeof bye>

const schemas: ReadonlyMap<string, { longest: number; schema: v.GenericSchema }> =
  new Map(
    Object.entries(types).map(([type, [entries, longest]]) => [
      type,
      { longest, schema: v.strictObject({ type: v.literal(type), ...entries }) },
    ]),
  )

/** What is no message, with the reason (for counting and for tests, not for people). */
export class Malformed {
  constructor(readonly problem: string) {}
}

/** Reads what came on a control channel. Never throws. */
export function parseMessage(data: unknown): Message | Malformed {
  if (typeof data !== 'string') return new Malformed('not a text')
  if (data.length > MAX_MESSAGE_LENGTH) return new Malformed('too long')
  try {
    const json: unknown = JSON.parse(data)
    if (typeof json !== 'object' || json === null || !('type' in json))
      return new Malformed('no type')
    const known = typeof json.type === 'string' ? schemas.get(json.type) : undefined
    if (!known) return new Malformed('unknown type')
    if (data.length > known.longest) return new Malformed('too long for its type')
    const result = v.safeParse(known.schema, json)
    if (!result.success) return new Malformed(result.issues[0].message)
    // The schemas are built from `types` at run time, which the compiler cannot follow.
    return result.output as Message
  } catch {
    return new Malformed('not JSON')
  }
}

export function encodeMessage(message: Message): string {
  return JSON.stringify(message)
}

/** A text as a name or sentence that fits a message. */
export function asLine(text: string, longest: number): string {
  const cleaned = text.replaceAll(/[\p{Cc}\u2028\u2029]+/gu, ' ').trim()
  // Cut between characters, never inside a surrogate pair.
  let line = ''
  for (const character of cleaned) {
    if (line.length + character.length > longest) break
    line += character
  }
  return line
}

/** The room's state as it travels; the compiler checks against `RoomState` where it is sent. */
export type WireState = v.InferOutput<typeof state>
