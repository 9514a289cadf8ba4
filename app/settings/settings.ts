/** What a person chose on this device; survives a reload, whatever the storage says. */
import * as v from 'valibot'
import type { RoomSession } from '../room/types.ts'

const number = (min: number, max: number) =>
  v.pipe(v.number(), v.minValue(min), v.maxValue(max))
const whole = (min: number, max: number) => v.pipe(number(min, max), v.integer())

export const LIMITS = {
  temperature: [0, 2],
  topP: [0.05, 1],
  topK: [0, 200],
  repetitionPenalty: [1, 2],
  maxTokens: [16, 4096],
  seed: [0, 2 ** 31 - 1],
} as const

/** Longest system prompt, characters. */
export const SYSTEM_LENGTH = 4000
export const NAME_LENGTH = 40

const schema = v.object({
  name: v.fallback(
    v.nullable(v.pipe(v.string(), v.trim(), v.minLength(1), v.maxLength(NAME_LENGTH))),
    null,
  ),
  /** Bytes; null: as much as was probed. */
  memoryBudget: v.fallback(v.nullable(whole(0, 1e12)), null),
  theme: v.fallback(v.picklist(['system', 'light', 'dark']), 'system'),
  temperature: v.fallback(number(...LIMITS.temperature), 0.7),
  topP: v.fallback(number(...LIMITS.topP), 0.9),
  topK: v.fallback(whole(...LIMITS.topK), 40),
  repetitionPenalty: v.fallback(number(...LIMITS.repetitionPenalty), 1.1),
  /** Null: another one for each answer. */
  seed: v.fallback(v.nullable(whole(...LIMITS.seed)), null),
  maxTokens: v.fallback(whole(...LIMITS.maxTokens), 512),
  speculate: v.fallback(v.boolean(), true),
  system: v.fallback(v.pipe(v.string(), v.maxLength(SYSTEM_LENGTH)), ''),
})

export type Settings = v.InferOutput<typeof schema>
export type Theme = Settings['theme']

/** Every field that can't be used falls back to its default. */
export function readSettings(json: string | null): Settings {
  let value: unknown = {}
  try {
    value = JSON.parse(json ?? '{}')
  } catch {
    // Written by something else: start with the defaults.
  }
  const result = v.safeParse(schema, value)
  return result.success ? result.output : v.parse(schema, {})
}

export interface TextStore {
  getItem(key: string): string | null
  setItem(key: string, value: string): void
}

const KEY = 'choir.settings'

/** Tells `change` when something was chosen. */
export class SettingsStore extends EventTarget {
  private current: Settings

  constructor(private readonly store: TextStore | null) {
    super()
    this.current = readSettings(attempt(() => store?.getItem(KEY) ?? null))
  }

  get value(): Settings {
    return this.current
  }

  update(patch: Partial<Settings>): void {
    this.current = readSettings(JSON.stringify({ ...this.current, ...patch }))
    // Private windows and full disks refuse: the choice still holds until the page closes.
    attempt(() => this.store?.setItem(KEY, JSON.stringify(this.current)) ?? null)
    this.dispatchEvent(new Event('change'))
  }
}

function attempt<T>(task: () => T): T | null {
  try {
    return task()
  } catch {
    return null
  }
}

/**
 * Tells the room how answers are chosen.
 * @param random gives a seed where none is fixed.
 */
export function applySampling(
  session: RoomSession,
  settings: Settings,
  random: () => number,
): void {
  session.setSampling({
    temperature: settings.temperature,
    topP: settings.topP,
    topK: settings.topK,
    repetitionPenalty: settings.repetitionPenalty,
    seed: settings.seed ?? random(),
    maxTokens: settings.maxTokens,
    speculate: settings.speculate,
    system: settings.system,
  })
}

export function randomSeed(): number {
  return (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) >>> 1
}
