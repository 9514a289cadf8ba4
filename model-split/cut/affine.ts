/** Fits numbers that grow with batch, rows and past: measured, not inferred. */
import { evaluate, type Affine } from '../manifest.ts'
import type { RunShape } from '../link/fill.ts'

/** Runs that determine an affine expression and check it. Later runs go on after earlier ones. */
export const PROBES: readonly (readonly RunShape[])[] = [
  [
    { batch: 1, rows: 7, past: 0 },
    { batch: 1, rows: 1, past: 7 },
    { batch: 1, rows: 3, past: 8 },
    { batch: 1, rows: 2, past: 11 },
  ],
  [
    { batch: 2, rows: 2, past: 0 },
    { batch: 2, rows: 1, past: 2 },
  ],
  // The first run again, one row after another.
  Array.from({ length: 7 }, (_, past) => ({ batch: 1, rows: 1, past })),
]

export interface Sample extends RunShape {
  readonly value: number
}

/**
 * The affine expression through the samples, or null where there is none. Without samples of
 * a second batch size the result holds for one sequence.
 */
export function fitAffine(samples: readonly Sample[]): Affine | null {
  const single = samples.filter(({ batch }) => batch === 1)
  const [a, b, c] = single
  if (!a || !b || !c) return null
  const det = determinant(
    a,
    b,
    c,
    ({ rows }) => rows,
    ({ past }) => past,
  )
  const rows =
    determinant(
      a,
      b,
      c,
      ({ value }) => value,
      ({ past }) => past,
    ) / det
  const past =
    determinant(
      a,
      b,
      c,
      ({ rows: r }) => r,
      ({ value }) => value,
    ) / det
  const constant = a.value - rows * a.rows - past * a.past
  const double = samples.find(({ batch }) => batch === 2)
  const perBatch = double
    ? double.value - constant - rows * double.rows - past * double.past
    : 0
  // Adding zero turns -0, which JSON does not keep, into 0.
  const fit: Affine = [constant - perBatch + 0, perBatch + 0, rows + 0, past + 0]
  const exact = samples.every((s) => evaluate(fit, s.batch, s.rows, s.past) === s.value)
  return exact && fit.every(Number.isInteger) ? fit : null
}

/** Determinant of three rows (1, x, y). */
function determinant(
  a: Sample,
  b: Sample,
  c: Sample,
  x: (s: Sample) => number,
  y: (s: Sample) => number,
): number {
  return (x(b) - x(a)) * (y(c) - y(a)) - (x(c) - x(a)) * (y(b) - y(a))
}
