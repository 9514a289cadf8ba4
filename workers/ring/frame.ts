/**
 * The binary frame: a header of 40 bytes with named offsets, little endian, and a payload up to
 * the end. The byte table for people is in docs/protocol-frames.md.
 */
import { DTYPES, type Dtype } from '../../model-split/manifest.ts'
import type { Epoch } from './types.ts'

export const FRAME_VERSION = 1
/** A multiple of 8, so that a payload that starts here can be viewed as numbers. */
export const HEADER_BYTES = 40
/** More rows than this never travel in one frame. */
export const MAX_ROWS = 256

/** Their number on the wire is the index here plus 1. */
export const KINDS = [
  /** Payload: the bytes of one border tensor. */
  'hidden',
  /** Last stage to starter: a chunk that needs no logits has gone through. */
  'passed',
  /** Stage to starter: only `position` rows of this sequence can be relied on here. */
  'nack',
  /** Stage to starter: this chunk cannot be run. */
  'fault',
  /** Asker to starter. */
  'ask',
  /** Asker to starter. */
  'stop',
  /** Starter to asker. */
  'answer',
  /** Asker to starter, and from there along the ring: free the caches. */
  'forget',
  /** Starter, along the ring of a plan: nothing is fed under it any more. */
  'moved',
  /** To the next starter of the same sequences: what the caches hold, and what is running. */
  'state',
  /** A layer's next holder to the one before: which sequences are there? */
  'kv-ask',
  /** The answer. */
  'kv-list',
  /** Rows `[position, position + rows)` of layer `tensor`; with `last` a chunk waits for them. */
  'kv-want',
  /** The answer: rows from `position` on, as many as there are, at most those wanted. */
  'kv',
] as const
export type FrameKind = (typeof KINDS)[number]

export interface FrameHeader {
  readonly kind: FrameKind
  /** Element type of a tensor, else null. */
  readonly dtype: Dtype | null
  /** With the last row of the prompt, or a decoding step: the head is wanted. */
  readonly last: boolean
  /** Rows after the first are a draft: the head is wanted for every row. Only with `last`. */
  readonly draft: boolean
  readonly epoch: Epoch
  readonly sequence: number
  /** Counts the starter's goes at a sequence; an older one's frames are dropped. */
  readonly attempt: number
  /** The attempt that fed row `position - 1`; 0 at position 0. See lineage.ts. */
  readonly base: number
  /** Rows already in the caches, P. A cache that is longer is truncated to it first. */
  readonly position: number
  /** Rows in this frame, S. */
  readonly rows: number
  /** Index of the tensor in the order of `manifest.tensors`; where caches travel, the layer. */
  readonly tensor: number
}

export interface Frame extends FrameHeader {
  /** A view on the received bytes: don't keep it beside a large buffer. */
  readonly payload: Uint8Array
}

const AT = {
  version: 0,
  kind: 1,
  dtype: 2,
  flags: 3,
  term: 4,
  number: 8,
  sequence: 12,
  attempt: 16,
  base: 20,
  position: 24,
  rows: 28,
  tensor: 30,
  length: 32,
  reserved: 36,
} as const
const NO_DTYPE = 255
const FLAG_LAST = 1
const FLAG_DRAFT = 2

/** How long a payload may be, by the header alone. */
export interface PayloadRange {
  readonly least: number
  readonly most: number
}
/** Null: a frame like this is refused. */
export type PayloadRule = (header: FrameHeader) => PayloadRange | null

export const EMPTY = new Uint8Array(0)

/** Fields that a frame without a tensor leaves alone. */
export const PLAIN = {
  dtype: null,
  last: false,
  draft: false,
  attempt: 0,
  base: 0,
  position: 0,
  rows: 0,
  tensor: 0,
  payload: EMPTY,
} as const

/** Serializes a frame. Numbers outside their field are a mistake of the caller. */
export function encodeFrame(frame: Frame): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + frame.payload.byteLength)
  const view = new DataView(bytes.buffer)
  view.setUint8(AT.version, FRAME_VERSION)
  view.setUint8(AT.kind, KINDS.indexOf(frame.kind) + 1)
  view.setUint8(AT.dtype, frame.dtype === null ? NO_DTYPE : DTYPES.indexOf(frame.dtype))
  view.setUint8(AT.flags, (frame.last ? FLAG_LAST : 0) | (frame.draft ? FLAG_DRAFT : 0))
  view.setUint32(AT.term, frame.epoch.term, true)
  view.setUint32(AT.number, frame.epoch.number, true)
  view.setUint32(AT.sequence, frame.sequence, true)
  view.setUint32(AT.attempt, frame.attempt, true)
  view.setUint32(AT.base, frame.base, true)
  view.setUint32(AT.position, frame.position, true)
  view.setUint16(AT.rows, frame.rows, true)
  view.setUint16(AT.tensor, frame.tensor, true)
  view.setUint32(AT.length, frame.payload.byteLength, true)
  bytes.set(frame.payload, HEADER_BYTES)
  return bytes
}

/** Reads a message of one frame or several, one behind the other; null as `decodeFrame`. */
export function decodeFrames(message: Uint8Array, rule: PayloadRule): Frame[] | null {
  const frames: Frame[] = []
  let rest = message
  do {
    if (rest.byteLength < HEADER_BYTES) return null
    const view = new DataView(rest.buffer, rest.byteOffset, HEADER_BYTES)
    const end = HEADER_BYTES + view.getUint32(AT.length, true)
    const frame = decodeFrame(rest.subarray(0, end), rule)
    if (!frame) return null
    frames.push(frame)
    rest = rest.subarray(end)
  } while (rest.byteLength > 0)
  return frames
}

/** Reads a frame from a room mate; null if it is malformed. Never throws, copies nothing. */
export function decodeFrame(bytes: Uint8Array, rule: PayloadRule): Frame | null {
  if (bytes.byteLength < HEADER_BYTES) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.getUint8(AT.version) !== FRAME_VERSION) return null
  const kind = KINDS[view.getUint8(AT.kind) - 1]
  if (kind === undefined) return null
  const code = view.getUint8(AT.dtype)
  const dtype = code === NO_DTYPE ? null : DTYPES[code]
  if (dtype === undefined) return null
  const flags = view.getUint8(AT.flags)
  // A draft without `last` is none of the combinations.
  if (flags === FLAG_DRAFT || flags > (FLAG_LAST | FLAG_DRAFT)) return null
  if (view.getUint32(AT.reserved, true) !== 0) return null
  const header: FrameHeader = {
    kind,
    dtype,
    last: (flags & FLAG_LAST) !== 0,
    draft: (flags & FLAG_DRAFT) !== 0,
    epoch: {
      term: view.getUint32(AT.term, true),
      number: view.getUint32(AT.number, true),
    },
    sequence: view.getUint32(AT.sequence, true),
    attempt: view.getUint32(AT.attempt, true),
    base: view.getUint32(AT.base, true),
    position: view.getUint32(AT.position, true),
    rows: view.getUint16(AT.rows, true),
    tensor: view.getUint16(AT.tensor, true),
  }
  const length = view.getUint32(AT.length, true)
  if (length !== bytes.byteLength - HEADER_BYTES) return null
  const range = rule(header)
  if (!range || length < range.least || length > range.most) return null
  return { ...header, payload: bytes.subarray(HEADER_BYTES) }
}
