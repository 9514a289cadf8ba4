/** A product with an int8 matrix, in slices of panels that do not depend on one another. */
import { PANEL, ROW_COUNTS, SCALE_BYTES, type Int8Kernel } from './int8-kernel.ts'

/** Rows of x that stay in the processor's cache while the panels pass. */
const ROWS = 32

/** `y[rows, n] = x[rows, k] · w`; addresses are byte offsets into the heap. */
export interface Product {
  /** Rows of x as int16, and the scales of their blocks: see `Int8Kernel.round`. */
  readonly q: number
  readonly scales: number
  /** Panels, as `Int8Kernel` reads them. */
  readonly w: number
  /** Float32. */
  readonly y: number
  readonly rows: number
  readonly k: number
  readonly n: number
  readonly block: number
}

export function panelBytes({ k, block }: Pick<Product, 'k' | 'block'>): number {
  return (k / block) * (SCALE_BYTES + PANEL * block)
}

/** Computes panels `[from, to)`. */
export function multiplyPanels(
  kernel: Int8Kernel,
  { q, scales, w, y, rows, k, n, block }: Product,
  [from, to]: readonly [number, number],
): void {
  const blocks = k / block
  const size = panelBytes({ k, block })
  const [qStride, scaleStride, yStride] = [2 * k, 4 * blocks, 4 * n]
  // Where a panel is read more than once, it is in the processor's cache by then.
  const step = ROW_COUNTS.some((count) => count === rows) ? to - from : 1
  for (let start = 0; start < rows; start += ROWS)
    for (let panel = from; panel < to; panel += step) {
      const end = Math.min(rows, start + ROWS)
      for (let row = start; row < end;) {
        const count = ROW_COUNTS.find((each) => row + each <= end) ?? 1
        kernel[`rows${count}`](
          q + row * qStride,
          scales + row * scaleStride,
          w + panel * size,
          y + row * yStride + 4 * PANEL * panel,
          block,
          blocks,
          step,
          qStride,
          scaleStride,
          yStride,
        )
        row += count
      }
    }
}
