/** The tensors of one run, by name, where the runtime has them; each is disposed of once. */
import type { HeldTensor, HeldTensors } from './backend.ts'
import { StageError, type TensorData } from './types.ts'

export class RunTensors<Held extends HeldTensor> {
  readonly #tensors: HeldTensors<Held>
  readonly #named = new Map<string, Held>()
  readonly #slices: Held[] = []

  constructor(tensors: HeldTensors<Held>) {
    this.#tensors = tensors
  }

  has(name: string): boolean {
    return this.#named.has(name)
  }

  upload(name: string, tensor: TensorData): void {
    this.#named.set(name, this.#tensors.upload(tensor))
  }

  /** From now on it is disposed of here. */
  add(name: string, tensor: Held): void {
    this.#named.set(name, tensor)
  }

  /** @throws StageError `internal` where no part gave it. */
  get(name: string): Held {
    const tensor = this.#named.get(name)
    if (!tensor) throw new StageError('internal', `The model did not compute "${name}".`)
    return tensor
  }

  /** The last element along an axis, counted from the end where it is negative. */
  last(name: string, axis: number): Held {
    const tensor = this.get(name)
    const at = axis < 0 ? tensor.dims.length + axis : axis
    const length = tensor.dims[at] ?? 1
    if (length <= 1) return tensor
    const slice = this.#tensors.slice(tensor, at, length - 1, length)
    this.#slices.push(slice)
    return slice
  }

  drop(name: string): void {
    const tensor = this.#named.get(name)
    if (!tensor) return
    this.#named.delete(name)
    this.#tensors.dispose(tensor)
  }

  dispose(): void {
    for (const name of this.#named.keys()) this.drop(name)
    for (const slice of this.#slices.splice(0)) this.#tensors.dispose(slice)
  }
}
