/** JSON payloads of frames: schema-checked, bounded. */
import * as v from 'valibot'

/** Sequences with caches on one device. */
export const MOST_SEQUENCES = 64

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const ms = v.pipe(v.number(), v.finite(), v.minValue(0))

const u32 = v.pipe(count, v.maxValue(0xffff_ffff))

const askSchema = v.strictObject({
  /** Which of the asking device's questions it is: answers name it. */
  question: u32,
  /** Conversation, then what was answered already. */
  ids: v.pipe(v.array(count), v.minLength(1)),
  /** How many of `ids`, at their end, are answer. */
  answered: count,
  /** For the whole answer, what is there already included. */
  maxTokens: v.pipe(count, v.minValue(1)),
  sampling: v.strictObject({
    temperature: v.pipe(v.number(), v.minValue(0), v.maxValue(100)),
    topK: count,
    topP: v.pipe(v.number(), v.minValue(0), v.maxValue(1)),
    repetitionPenalty: v.pipe(v.number(), v.minValue(0.01), v.maxValue(100)),
    seed: v.pipe(v.number(), v.safeInteger()),
  }),
  /** False: one lap per token. */
  speculate: v.optional(v.boolean()),
})
export type AskMessage = v.InferOutput<typeof askSchema>

const answerSchema = v.variant('kind', [
  v.strictObject({ kind: v.literal('token'), index: count, id: count }),
  v.strictObject({
    kind: v.literal('end'),
    reason: v.picklist(['eos', 'length', 'stopped']),
    eos: v.optional(count),
    stats: v.strictObject({
      promptTokens: count,
      reusedTokens: count,
      newTokens: count,
      laps: count,
      prefillMs: ms,
      decodeMs: ms,
    }),
  }),
  v.strictObject({
    kind: v.literal('failed'),
    message: v.pipe(v.string(), v.maxLength(300)),
  }),
])
export type AnswerMessage = v.InferOutput<typeof answerSchema>

/** Sequences whose caches are here, with their rows. */
const listSchema = v.pipe(
  v.array(v.strictTuple([u32, count])),
  v.maxLength(MOST_SEQUENCES),
)
export type KvList = v.InferOutput<typeof listSchema>

/** A sequence that moves to another starter. */
const stateSchema = v.strictObject({
  /** The device that asks. */
  asker: v.pipe(v.string(), v.maxLength(64)),
  /** Tokens; the caches hold the first `rows` of them. */
  ids: v.array(count),
  rows: count,
  /** Which attempt fed the rows: `[first row, attempt]`, ascending from row 0. */
  fed: v.array(v.strictTuple([count, u32])),
  /** Null where nothing runs. `answered` of `ids`, at their end, are answer. */
  running: v.nullable(v.omit(askSchema, ['ids'])),
})
export type StateMessage = v.InferOutput<typeof stateSchema>

export const FAULTS = ['out-of-memory', 'unreachable', 'broken'] as const
const faultSchema = v.strictObject({ code: v.picklist(FAULTS) })
export type Fault = (typeof FAULTS)[number]

export interface AskBounds {
  readonly context: number
  readonly vocabulary: number
}

/** Null: malformed, or too large for the model. */
export function readAsk(payload: Uint8Array, bounds: AskBounds): AskMessage | null {
  const ask = read(askSchema, payload)
  if (!ask || ask.ids.length > bounds.context || ask.answered >= ask.ids.length)
    return null
  return ask.ids.every((id) => id < bounds.vocabulary) ? ask : null
}

export function readAnswer(
  payload: Uint8Array,
  vocabulary: number,
): AnswerMessage | null {
  const answer = read(answerSchema, payload)
  return answer?.kind === 'token' && answer.id >= vocabulary ? null : answer
}

export function readFault(payload: Uint8Array): Fault | null {
  return read(faultSchema, payload)?.code ?? null
}

export function readKvList(payload: Uint8Array): KvList | null {
  return read(listSchema, payload)
}

export function readState(payload: Uint8Array, bounds: AskBounds): StateMessage | null {
  const state = read(stateSchema, payload)
  if (!state) return null
  const { ids, rows, fed, running } = state
  const isAscending = fed.every(
    ([row], i) => (i === 0 ? row === 0 : row > (fed[i - 1]?.[0] ?? row)) && row < rows,
  )
  const isWhole = isAscending && fed.length > 0 === rows > 0 && rows <= ids.length
  const fits = ids.length <= bounds.context && ids.every((id) => id < bounds.vocabulary)
  return isWhole && fits && (!running || running.answered < ids.length) ? state : null
}

type Writable = AskMessage | AnswerMessage | StateMessage | KvList | { code: Fault }

export function write(message: Writable): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(message))
}

function read<T>(schema: v.GenericSchema<unknown, T>, payload: Uint8Array): T | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(payload)
    const result = v.safeParse(schema, JSON.parse(text))
    return result.success ? result.output : null
  } catch {
    return null
  }
}
