/** Numbers as people read them. */

const NBSP = '\u00a0'

/** `0.8 GB`, `60 MB`, `12 KB`: decimal units, as phones show storage. */
export function bytes(count: number): string {
  const n = Math.max(0, Number.isFinite(count) ? count : 0)
  if (n >= 999.5e6) return `${(n / 1e9).toFixed(n < 9.95e9 ? 1 : 0)}${NBSP}GB`
  if (n >= 999.5e3) return `${(n / 1e6).toFixed(0)}${NBSP}MB`
  if (n === 0) return `0${NBSP}MB`
  return `${Math.ceil(n / 1e3)}${NBSP}KB`
}

/** A shortage: never `0.0 GB`, so that nobody is told to find nothing. */
export function shortage(count: number): string {
  return count >= 99.5e6 && count < 999.5e6
    ? `${(Math.ceil(count / 1e8) / 10).toFixed(1)}${NBSP}GB`
    : bytes(Math.max(count, 1e6))
}

/** `60 of 140 MB`: both in the unit of the total. */
export function bytesOf(done: number, total: number): string {
  const [unit, digits, name] =
    total >= 999.5e6 ? ([1e9, 1, 'GB'] as const) : ([1e6, 0, 'MB'] as const)
  const part = Math.min(Math.max(done, 0), total)
  return `${(part / unit).toFixed(digits)} of ${(total / unit).toFixed(digits)}${NBSP}${name}`
}

/** Time left, in words that don't promise more than an estimate can. */
export function timeLeft(seconds: number | null): string | null {
  if (seconds === null || !Number.isFinite(seconds) || seconds < 0) return null
  if (seconds < 5) return 'a few seconds'
  if (seconds < 55) return `about ${Math.ceil(seconds / 5) * 5}${NBSP}s`
  if (seconds < 90) return `about 1${NBSP}min`
  if (seconds < 55 * 60) return `about ${Math.round(seconds / 60)}${NBSP}min`
  if (seconds < 90 * 60) return `about 1${NBSP}h`
  if (seconds < 24 * 3600) return `about ${Math.round(seconds / 3600)}${NBSP}h`
  return 'more than a day'
}

/** Whole percent; 100 only when it is done. */
export function percent(done: number, total: number): number {
  if (total <= 0) return 0
  return done >= total ? 100 : Math.min(99, Math.max(0, Math.floor((done / total) * 100)))
}

export function milliseconds(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)}${NBSP}ms`
  return ms < 1000 ? `${ms.toFixed(0)}${NBSP}ms` : `${(ms / 1000).toFixed(1)}${NBSP}s`
}

export function count(n: number, one: string, many: string): string {
  return `${n}${NBSP}${n === 1 ? one : many}`
}

/** `12 tokens/s`, and more digits where it is slow. */
export function rate(perSecond: number): string {
  return `${perSecond.toFixed(perSecond < 10 ? 1 : 0)}${NBSP}tokens/s`
}

/** Six digits in two groups. */
export function digitGroups(digits: string): string {
  return `${digits.slice(0, 3)}${NBSP}${digits.slice(3)}`
}

/** `Anna's phone` -> `AP`; for a round picture. */
export function initials(name: string, most = 2): string {
  const words = name.trim().split(/[\s_-]+/u)
  const chosen =
    most < 2 || words.length < 2 ? words.slice(0, 1) : [words[0], words.at(-1)]
  const letters = chosen.map((word) => Array.from(word ?? '')[0] ?? '')
  return letters.join('').toUpperCase() || '?'
}

/** Time of day, with seconds. @param at milliseconds since 1970. */
export function clock(at: number): string {
  return new Date(at).toLocaleTimeString(undefined, {
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hour12: false,
  })
}
