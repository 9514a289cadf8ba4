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

/** What the matrices of one heap share. */
interface Tools {
  readonly kernel: Int8Kernel
  /** Room for one panel as float32, as high as the highest matrix. */
  tile: { readonly address: number; readonly k: number }
}

const tools = new WeakMap<HeapModule, Promise<Tools>>()

async function loadTools(module: HeapModule): Promise<Tools> {
  const kernel = await loadInt8Kernel(module.memory)
  return { kernel, tile: { address: 0, k: 0 } }
}

export class Int8Matrix {
  readonly k: number
  readonly n: number
  readonly block: number
  readonly bytes: number
  readonly #module: HeapModule
  readonly #tools: Tools
  readonly #address: number

  /** Copies the weights. @throws RangeError where memory ran out */
  static async open(module: HeapModule, source: Int8Source): Promise<Int8Matrix> {
    const loading = tools.get(module) ?? loadTools(module)
    tools.set(module, loading)
    return new Int8Matrix(module, await loading, source)
  }

  private constructor(module: HeapModule, tools: Tools, source: Int8Source) {
    this.#module = module
    this.#tools = tools
    this.k = source.k
    this.n = source.n
    this.block = source.block
    this.bytes = (this.n / PANEL) * this.#panelBytes
    if (tools.tile.k < this.k) {
      const address = allocate(module, 4 * PANEL * this.k)
      if (tools.tile.k > 0) module._free(tools.tile.address)
      tools.tile = { address, k: this.k }
    }
    this.#address = allocate(module, this.bytes)
    this.#fill(source)
  }

  /** `y[rows, n] = x[rows, k] · matrix`, float32; addresses in the heap. */
  multiply(x: number, y: number, rows: number): void {
    const { k, n, block } = this
    const { kernel } = this.#tools
    const tile = this.#tools.tile.address
    const blocks = k / block
    if (rows === 1) kernel.row(x, this.#address, y, block, blocks, n / PANEL)
    else
      for (let start = 0; start < rows; start += ROWS) {
        const end = Math.min(rows, start + ROWS)
        for (let panel = 0; panel < n / PANEL; panel++) {
          kernel.expand(this.#address + panel * this.#panelBytes, tile, block, blocks)
          let from = x + 4 * k * start
          let to = y + 4 * (n * start + PANEL * panel)
          let row = start
          for (; row + 1 < end; row += 2, from += 8 * k, to += 8 * n)
            kernel.two(from, from + 4 * k, tile, to, to + 4 * n, k)
          if (row < end) kernel.one(from, tile, to, k)
        }
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
