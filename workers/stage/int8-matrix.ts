/** An int8 matrix in the heap, in the panels that the kernel reads. */
import { allocate, heap, type HeapModule } from './heap-module.ts'
import { PAIR, PANEL, SCALE_BYTES } from './int8-kernel.ts'
import { panelBytes } from './int8-product.ts'
import type { Int8Team, Rows } from './int8-team.ts'

export interface Int8Source {
  readonly k: number
  readonly n: number
  readonly block: number
  /** Int8 `[k, n]`. */
  readonly q: Uint8Array
  /** Float32 `[k / block, n]`, little-endian. */
  readonly scales: Uint8Array
}

/** Runs of fewer rows than this are computed together. */
const FEW_ROWS = 32

export class Int8Matrix {
  readonly k: number
  readonly n: number
  readonly block: number
  readonly bytes: number
  readonly #module: HeapModule
  readonly #team: Int8Team
  readonly #address: number

  /** Copies the weights. @throws RangeError where memory ran out */
  constructor(module: HeapModule, team: Int8Team, source: Int8Source) {
    this.#module = module
    this.#team = team
    this.k = source.k
    this.n = source.n
    this.block = source.block
    this.bytes = (this.n / PANEL) * panelBytes(this)
    this.#address = allocate(module, this.bytes)
    this.#fill(source)
  }

  /** Several as one, for which the weights are read once; each row is what it is alone. */
  multiply(all: readonly Rows[]): void {
    const { k, n, block } = this
    const matrix = { w: this.#address, k, n, block }
    const few = all.filter(({ rows }) => rows < FEW_ROWS)
    for (const one of all) if (one.rows >= FEW_ROWS) this.#team.multiply(matrix, [one])
    while (few.length > 0) {
      let rows = 0
      const next = few.findIndex((one) => (rows += one.rows) > FEW_ROWS)
      this.#team.multiply(matrix, few.splice(0, next < 0 ? few.length : next))
    }
  }

  /** Columns as uint8 `q + 128`, and their scales; one after another. */
  columns(indices: readonly number[]): { q: Uint8Array; scales: Uint8Array } {
    const { k, block } = this
    const blocks = k / block
    const memory = heap(this.#module)
    const q = new Uint8Array(indices.length * k)
    const scales = new Uint8Array(indices.length * blocks * 4)
    for (const [i, index] of indices.entries()) {
      const column = index % PANEL
      let at = this.#address + ((index - column) / PANEL) * panelBytes(this)
      for (let b = 0; b < blocks; b++) {
        const scale = at + 4 * column
        scales.set(memory.subarray(scale, scale + 4), 4 * (i * blocks + b))
        at += SCALE_BYTES
        for (let row = 0; row < block; row++)
          q[i * k + b * block + row] = (memory[at + placeOf(row, column)] ?? 0) ^ 128
        at += PANEL * block
      }
    }
    return { q, scales }
  }

  free(): void {
    this.#module._free(this.#address)
  }

  #fill({ q, scales }: Int8Source): void {
    const { k, n, block } = this
    const memory = heap(this.#module)
    let at = this.#address
    for (let panel = 0; panel < n; panel += PANEL)
      for (let b = 0; b < k / block; b++) {
        const scale = 4 * (b * n + panel)
        memory.set(scales.subarray(scale, scale + SCALE_BYTES), at)
        at += SCALE_BYTES
        for (let row = 0; row < block; row++) {
          const from = (b * block + row) * n + panel
          for (let i = 0; i < PANEL; i++)
            memory[at + placeOf(row, i)] = q[from + i] as number
        }
        at += PANEL * block
      }
  }
}

/** Of a weight within its block, behind the scales. */
function placeOf(row: number, column: number): number {
  return (row - (row % PAIR)) * PANEL + PAIR * column + (row % PAIR)
}
