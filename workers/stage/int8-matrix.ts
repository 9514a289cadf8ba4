/** An int8 matrix in the heap, in the panels that the kernel reads. */
import { allocate, heap, type HeapModule } from './heap-module.ts'
import { loadInt8Kernel, PANEL, SCALE_BYTES, type Int8Kernel } from './int8-kernel.ts'

/** Rows of x that stay in the processor's cache while the panels pass. */
const ROWS = 32

export interface Int8Source {
  readonly k: number
  readonly n: number
  readonly block: number
  /** Int8 `[k, n]`. */
  readonly q: Uint8Array
  /** Float32 `[k / block, n]`, little-endian. */
  readonly scales: Uint8Array
}

const kernels = new WeakMap<HeapModule, Promise<Int8Kernel>>()

/** `y[rows, n] = x[rows, k] · matrix`, float32; addresses in the heap. */
export interface Rows {
  readonly x: number
  readonly y: number
  readonly rows: number
}

export class Int8Matrix {
  readonly k: number
  readonly n: number
  readonly block: number
  readonly bytes: number
  readonly #module: HeapModule
  readonly #kernel: Int8Kernel
  readonly #address: number

  /** Copies the weights. @throws RangeError where memory ran out */
  static async open(module: HeapModule, source: Int8Source): Promise<Int8Matrix> {
    const loading = kernels.get(module) ?? loadInt8Kernel(module.memory)
    kernels.set(module, loading)
    return new Int8Matrix(module, await loading, source)
  }

  private constructor(module: HeapModule, kernel: Int8Kernel, source: Int8Source) {
    this.#module = module
    this.#kernel = kernel
    this.k = source.k
    this.n = source.n
    this.block = source.block
    this.bytes = (this.n / PANEL) * this.#panelBytes
    this.#address = allocate(module, this.bytes)
    this.#fill(source)
  }

  /** Each row is what it would be alone, bit for bit. */
  multiply(all: readonly Rows[]): void {
    const few = all.filter(({ rows }) => rows < ROWS)
    for (const one of all) if (one.rows >= ROWS) this.#product(one)
    while (few.length > 0) {
      let rows = 0
      const next = few.findIndex((one) => (rows += one.rows) > ROWS)
      this.#gather(few.splice(0, next < 0 ? few.length : next))
    }
  }

  /** As one product, for which the weights are read and converted once. */
  #gather(all: readonly Rows[]): void {
    const [xBytes, yBytes] = [4 * this.k, 4 * this.n]
    const rows = all.reduce((sum, one) => sum + one.rows, 0)
    const x = all.length > 1 ? this.#module._malloc(rows * (xBytes + yBytes)) : 0
    if (x === 0) {
      for (const one of all) this.#product(one)
      return
    }
    const y = x + rows * xBytes
    let row = 0
    for (const one of all) {
      this.#copy(one.x, x + row * xBytes, one.rows * xBytes)
      row += one.rows
    }
    this.#product({ x, y, rows })
    row = 0
    for (const one of all) {
      this.#copy(y + row * yBytes, one.y, one.rows * yBytes)
      row += one.rows
    }
    this.#module._free(x)
  }

  #copy(from: number, to: number, bytes: number): void {
    heap(this.#module).copyWithin(to, from, from + bytes)
  }

  #product({ x, y, rows }: Rows): void {
    const panels = this.n / PANEL
    // Where the weights are read more than once, a panel is in the processor's cache by then.
    const step = [1, 2, 4].includes(rows) ? panels : 1
    for (let start = 0; start < rows; start += ROWS)
      for (let panel = 0; panel < panels; panel += step)
        this.#panels(x, y, [start, Math.min(rows, start + ROWS)], [panel, step])
  }

  #panels(
    x: number,
    y: number,
    [start, end]: readonly [number, number],
    [panel, count]: readonly [number, number],
  ): void {
    const { k, n, block } = this
    const kernel = this.#kernel
    const [xStride, yStride] = [4 * k, 4 * n]
    const w = this.#address + panel * this.#panelBytes
    let from = x + start * xStride
    let to = y + start * yStride + 4 * PANEL * panel
    for (let left = end - start; left > 0;) {
      const rows = left >= 4 ? 4 : left >= 2 ? 2 : 1
      const shape = [block, k / block, count] as const
      if (rows === 1) kernel.row(from, w, to, ...shape)
      else kernel[`rows${rows}`](from, w, to, ...shape, xStride, yStride)
      from += rows * xStride
      to += rows * yStride
      left -= rows
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
      let at = this.#address + ((index - column) / PANEL) * this.#panelBytes
      for (let b = 0; b < blocks; b++) {
        const scale = at + 4 * column
        scales.set(memory.subarray(scale, scale + 4), 4 * (i * blocks + b))
        at += SCALE_BYTES
        for (let row = 0; row < block; row++, at += PANEL)
          q[i * k + b * block + row] = (memory[at + column] ?? 0) ^ 128
      }
    }
    return { q, scales }
  }

  free(): void {
    this.#module._free(this.#address)
  }

  get #panelBytes(): number {
    return (this.k / this.block) * (SCALE_BYTES + PANEL * this.block)
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
        for (let row = b * block; row < (b + 1) * block; row++, at += PANEL) {
          const from = row * n + panel
          for (let i = 0; i < PANEL; i++) memory[at + i] = q[from + i] as number
        }
      }
  }
}
