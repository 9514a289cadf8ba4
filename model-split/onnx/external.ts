/** External data: where a tensor's elements lie in another file beside the model. */
import type { ModelSource } from '../source/source.ts'
import { pathFault } from '../source/path.ts'
import { ModelError } from './error.ts'
import type { TensorData } from './types.ts'

/** Finds the extents of external tensors, asking for each file's size only once. */
export class ExternalFiles {
  readonly #source: ModelSource
  readonly #folder: string
  readonly #sizes = new Map<string, Promise<number | null>>()

  /** @param model path of the model file, beside which its data lies */
  constructor(source: ModelSource, model: string) {
    this.#source = source
    this.#folder = model.slice(0, model.lastIndexOf('/') + 1)
  }

  /**
   * Where `bytes` bytes of tensor `name` lie.
   * @throws ModelError naming tensor and file where they cannot lie there.
   */
  async locate(
    name: string,
    entries: ReadonlyMap<string, string>,
    bytes: number,
  ): Promise<TensorData> {
    const location = (entries.get('location') ?? '').replace(/^(\.\/)+/, '')
    const fault = pathFault(location)
    if (fault)
      throw new ModelError(
        `Tensor "${name}" keeps its data in "${location}", which ${fault}; only files beside the model are read.`,
      )
    const offset = this.#number(name, 'offset', entries.get('offset') ?? '0')
    const length = this.#number(name, 'length', entries.get('length') ?? String(bytes))
    if (length !== bytes)
      throw new ModelError(
        `Tensor "${name}" has ${length} bytes of data in ${location}, but its shape needs ${bytes}; export the model again.`,
      )
    const file = this.#folder + location
    const size = await this.#size(file)
    if (size === null)
      throw new ModelError(
        `The data file ${file} is missing, which tensor "${name}" needs; download it too and keep it beside the model.`,
      )
    if (offset + length > size)
      throw new ModelError(
        `The data file ${file} is too short: tensor "${name}" needs bytes ${offset} to ${offset + length}, but it has only ${size}; download or export the model again.`,
      )
    return { kind: 'file', file, offset, length }
  }

  #number(name: string, key: string, value: string): number {
    const number = /^\d{1,16}$/.test(value) ? Number(value) : NaN
    if (Number.isSafeInteger(number)) return number
    throw new ModelError(
      `Tensor "${name}" has the ${key} "${value.slice(0, 40)}" for its external data, which is not a position in a file; export the model again.`,
    )
  }

  #size(file: string): Promise<number | null> {
    const known = this.#sizes.get(file)
    if (known) return known
    const size = this.#source.size(file)
    this.#sizes.set(file, size)
    return size
  }
}
