/** The manifest's golden prompt: what every border tensor must be. */
import type { Dtype, Manifest } from '../../model-split/manifest.ts'
import { byteLength, dimsFor, join, rowAxis, slice, toNumbers } from './tensors.ts'
import { StageError, type TensorData } from './types.ts'

export class Golden {
  readonly ids: readonly number[]
  readonly #manifest: Manifest
  readonly #bytes: Uint8Array

  /** @param bytes of golden.bin */
  constructor(manifest: Manifest, bytes: Uint8Array) {
    this.#manifest = manifest
    this.#bytes = bytes
    this.ids = manifest.golden.ids
  }

  /** Rows `[from, to)` of a border tensor; all of it where it has no rows. */
  border(name: string, from: number, to: number): TensorData {
    const tensor = this.#manifest.tensors[name]
    if (!tensor)
      throw new StageError('bad-model', `The manifest has no tensor "${name}".`)
    const whole = this.#read(tensor.dtype, this.#dims(tensor.dims), tensor.golden)
    const axis = rowAxis(tensor.dims)
    return axis === null ? whole : slice(whole, axis, from, to)
  }

  /** Single rows of a border tensor one after another, in any order and number. */
  rows(name: string, indices: readonly number[]): TensorData {
    const axis = this.rowAxis(name)
    return axis === null
      ? this.border(name, 0, this.ids.length)
      : join(
          indices.map((i) => this.border(name, i, i + 1)),
          axis,
        )
  }

  rowAxis(name: string): number | null {
    return rowAxis(this.#manifest.tensors[name]?.dims ?? [])
  }

  /** Whether the prompt may be run in pieces: every row stands for itself. */
  canDivide(names: readonly string[]): boolean {
    return names.every(
      (name) => rowAxis(this.#manifest.tensors[name]?.dims ?? []) !== null,
    )
  }

  /** Logits of a row, or null where only the last row's are known. */
  logits(row: number): TensorData | null {
    const { logits, golden, vocabulary } = this.#manifest
    const rows = logits.rows === 'all' ? this.ids.length : 1
    const index = logits.rows === 'all' ? row : row - this.ids.length + 1
    if (index < 0) return null
    const whole = this.#read(logits.dtype, [1, rows, vocabulary], golden.logits)
    return slice(whole, 1, index, index + 1)
  }

  #dims(dims: Parameters<typeof dimsFor>[0]): number[] {
    return dimsFor(dims, { batch: 1, rows: this.ids.length, past: 0 })
  }

  #read(
    dtype: Dtype,
    dims: number[],
    [offset, length]: readonly [number, number],
  ): TensorData {
    const bytes = this.#bytes.subarray(offset, offset + length)
    if (bytes.byteLength !== byteLength(dtype, dims))
      throw new StageError('bad-model', 'golden.bin does not fit its manifest.')
    return { dtype, dims, bytes }
  }
}

/**
 * Largest difference in a row as a part of the row's largest expected value; the worst row.
 * Row by row, because the first token's states can be a thousand times larger than the rest.
 * Infinity where a value is missing or not finite.
 */
export function relativeError(actual: TensorData, expected: TensorData): number {
  const width = expected.dims.at(-1) ?? 1
  const a = toNumbers(actual)
  const e = toNumbers(expected)
  if (a.length !== e.length) return Infinity
  let worst = 0
  for (let start = 0; start < e.length; start += width) {
    let largest = 0
    let difference = 0
    for (let i = start; i < start + width; i++) {
      const x = a[i] ?? NaN
      const y = e[i] ?? NaN
      if (!Number.isFinite(x)) return Infinity
      largest = Math.max(largest, Math.abs(y))
      difference = Math.max(difference, Math.abs(x - y))
    }
    if (difference > 0)
      worst = Math.max(worst, largest > 0 ? difference / largest : Infinity)
  }
  return worst
}
