/**
 * Threads that share a product. Slices of it are tickets: whoever is free takes the next one,
 * the thread that asked included, so that helpers which sleep, are slow or have not started
 * yet cost nothing but their share. They talk through a few words of the shared heap, as a
 * product takes less time than a message.
 */
import { allocate, heap, type HeapModule } from './heap-module.ts'
import { loadInt8Kernel, PANEL, type Int8Kernel } from './int8-kernel.ts'
import { multiplyPanels, type Product } from './int8-product.ts'

/** What a helper is started with. */
export interface HelperStart {
  readonly memory: WebAssembly.Memory
  /** Byte offset of the control words. */
  readonly control: number
}

export interface Helpers {
  readonly count: number
  /** Starts a thread that calls `help`; the function given back ends it. */
  start(start: HelperStart): () => void
}

/** `y[rows, n] = x[rows, k] · matrix`, float32; byte offsets into the heap. */
export interface Rows {
  readonly x: number
  readonly y: number
  readonly rows: number
}

type Matrix = Pick<Product, 'w' | 'k' | 'n' | 'block'>

/** Tickets are numbered on and on, wrapping at 2^32: each belongs to one product. */
const WORD = {
  /** Ticket behind the last one of the newest product. */
  end: 0,
  /** Ticket that nobody has taken. */
  next: 1,
  /** Slices computed. */
  done: 2,
  first: 3,
  panelsPerSlice: 4,
  q: 5,
  scales: 6,
  w: 7,
  y: 8,
  rows: 9,
  k: 10,
  n: 11,
  block: 12,
  /** Slices that helpers computed. */
  helped: 13,
} as const
const CONTROL_BYTES = 64
/** Slices for each thread: less waiting for the slowest. */
const SLICES = 4
/** Products below this many multiplications are done before a helper has noticed. */
const LEAST_WORK = 50_000
/** Looks before a thread sleeps: a helper stays awake between the products of a token. */
const LOOKS = 1000
/** Leaves the core to its other thread for a moment; not in every browser yet. */
const { pause = () => undefined } = Atomics as { readonly pause?: () => void }

export class Int8Team {
  readonly #kernel: Int8Kernel
  readonly #module: HeapModule
  readonly #threads: number
  readonly #control: number
  readonly #words: Int32Array
  readonly #ends: ((() => void) | undefined)[] = []
  /** Room for rounded rows. */
  #rounded = { address: 0, bytes: 0 }

  /** @throws RangeError where memory ran out */
  static async start(module: HeapModule, helpers?: Helpers): Promise<Int8Team> {
    return new Int8Team(module, await loadInt8Kernel(module.memory), helpers)
  }

  private constructor(module: HeapModule, kernel: Int8Kernel, helpers?: Helpers) {
    const { memory } = module
    this.#module = module
    this.#kernel = kernel
    this.#threads = 1 + (helpers?.count ?? 0)
    this.#control = allocate(module, CONTROL_BYTES)
    this.#words = wordsAt(memory, this.#control)
    this.#words.fill(0)
    while (this.#ends.length < this.#threads - 1)
      this.#ends.push(helpers?.start({ memory, control: this.#control }))
  }

  /** Slices that helpers have computed so far; wraps. */
  get helped(): number {
    return Atomics.load(this.#words, WORD.helped)
  }

  /** After the last product. */
  close(): void {
    for (const end of this.#ends) end?.()
    this.#module._free(this.#control)
    if (this.#rounded.bytes > 0) this.#module._free(this.#rounded.address)
  }

  /** Returns once the whole product is there. @throws RangeError where memory ran out */
  multiply(matrix: Matrix, all: readonly Rows[]): void {
    const { k, n, block } = matrix
    const rows = all.reduce((sum, one) => sum + one.rows, 0)
    const blocks = k / block
    const apart = all.length > 1
    const q = this.#room(rows * (2 * k + 4 * blocks + (apart ? 4 * n : 0)))
    const scales = q + 2 * rows * k
    const gathered = scales + 4 * rows * blocks
    const y = apart ? gathered : (all[0]?.y ?? 0)
    let row = 0
    for (const one of all) {
      if (one.rows === 0) continue
      const [to, scale] = [q + 2 * row * k, scales + 4 * row * blocks]
      this.#kernel.round(one.x, to, scale, block, one.rows * blocks)
      row += one.rows
    }
    this.#share({ ...matrix, q, scales, y, rows })
    if (!apart) return
    const memory = heap(this.#module)
    let from = gathered
    for (const one of all) {
      const bytes = 4 * n * one.rows
      memory.copyWithin(one.y, from, from + bytes)
      from += bytes
    }
  }

  #share(product: Product): void {
    const { rows, k, n } = product
    const panels = n / PANEL
    if (this.#threads === 1 || rows * k * n < LEAST_WORK) {
      multiplyPanels(this.#kernel, product, [0, panels])
      return
    }
    const words = this.#words
    const first = words[WORD.end] ?? 0
    const panelsPerSlice = Math.ceil(panels / (SLICES * this.#threads))
    const end = (first + Math.ceil(panels / panelsPerSlice)) | 0
    const job = { ...product, first, panelsPerSlice }
    for (const [name, value] of Object.entries(job))
      words[WORD[name as keyof typeof job]] = value
    Atomics.store(words, WORD.end, end)
    Atomics.notify(words, WORD.end)
    takeSlices(this.#kernel, words)
    for (let done = 0; (done = Atomics.load(words, WORD.done)) !== end;)
      waitWhile(words, WORD.done, done)
  }

  /** Addresses of the room change with its size. */
  #room(bytes: number): number {
    if (bytes > this.#rounded.bytes) {
      const address = allocate(this.#module, bytes)
      if (this.#rounded.bytes > 0) this.#module._free(this.#rounded.address)
      this.#rounded = { address, bytes }
    }
    return this.#rounded.address
  }
}

/** The life of a helper; ends with its thread. */
export async function help({ memory, control }: HelperStart): Promise<never> {
  const kernel = await loadInt8Kernel(memory)
  const words = wordsAt(memory, control)
  for (;;) {
    Atomics.add(words, WORD.helped, takeSlices(kernel, words))
    const end = Atomics.load(words, WORD.end)
    if (Atomics.load(words, WORD.next) === end) waitWhile(words, WORD.end, end)
  }
}

/** Until a word is no longer what it was: awake for a while, then asleep. */
function waitWhile(words: Int32Array, index: number, value: number): void {
  for (let looks = 0; looks < LOOKS; looks++) {
    if (Atomics.load(words, index) !== value) return
    pause()
  }
  Atomics.wait(words, index, value)
}

/** Until no ticket is left. @returns how many were taken */
function takeSlices(kernel: Int8Kernel, words: Int32Array): number {
  const word = (index: number): number => (words[index] ?? 0) >>> 0
  for (let taken = 0; ;) {
    const ticket = Atomics.load(words, WORD.next)
    const end = Atomics.load(words, WORD.end)
    if (((end - ticket) | 0) <= 0) return taken
    const slice = (ticket - word(WORD.first)) | 0
    const panelsPerSlice = word(WORD.panelsPerSlice)
    const product: Product = {
      q: word(WORD.q),
      scales: word(WORD.scales),
      w: word(WORD.w),
      y: word(WORD.y),
      rows: word(WORD.rows),
      k: word(WORD.k),
      n: word(WORD.n),
      block: word(WORD.block),
    }
    // No other product begins before this ticket is done: once it is ours, what was read
    // above belongs to it.
    const found = Atomics.compareExchange(words, WORD.next, ticket, (ticket + 1) | 0)
    if (found !== ticket) continue
    taken++
    const from = slice * panelsPerSlice
    const to = Math.min(product.n / PANEL, from + panelsPerSlice)
    multiplyPanels(kernel, product, [from, to])
    if (((Atomics.add(words, WORD.done, 1) + 1) | 0) === end)
      Atomics.notify(words, WORD.done)
  }
}

function wordsAt(memory: WebAssembly.Memory, address: number): Int32Array {
  return new Int32Array(memory.buffer, address, CONTROL_BYTES / 4)
}
