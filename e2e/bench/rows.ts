/** Lines of a report: one figure each, against something measured in the same run. */
import type { Row } from './plan-sim.ts'

export type { Row }

/** A simulated figure counts only this near to what was measured beside it. */
export const TRUSTED = 0.1

export function median(values: readonly number[]): number {
  const sorted = values.filter(Number.isFinite).toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]]
  return ((low ?? NaN) + (high ?? NaN)) / 2
}

/** Ratio of speeds, both more is better. */
export function compare(
  id: string,
  unit: string,
  against: string,
  ours: readonly number[],
  theirs: readonly number[],
): Row {
  const value = median(ours)
  const ratio = value / median(theirs)
  return {
    id,
    value,
    unit,
    against,
    ratio,
    rounds: ours.length,
    samples: { ours, theirs },
  }
}

/** The row with the rounds of an earlier run of the same part as well. */
export function withRounds(row: Row, before: Row | undefined): Row {
  const [now, then] = [row.samples, before?.samples]
  if (!now || !then) return row
  const ours = [...then.ours, ...now.ours]
  return compare(row.id, row.unit, row.against, ours, [...then.theirs, ...now.theirs])
}

export function table(rows: readonly Row[]): string {
  const lines = rows.map(({ id, value, unit, ratio, against, rounds }) => [
    id,
    `${figure(value)} ${unit}`,
    `${figure(ratio)}x`,
    `${against}, ${rounds} ${rounds === 1 ? 'round' : 'rounds'}`,
  ])
  const widths = [0, 1, 2].map((i) =>
    Math.max(0, ...lines.map((line) => (line[i] ?? '').length)),
  )
  return lines
    .map((line) => line.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  '))
    .join('\n')
}

export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-'
  return value >= 1000 ? value.toFixed(0) : value.toPrecision(3)
}
