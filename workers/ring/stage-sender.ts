/** What a stage sends: hidden states to their readers, and word of trouble to the starter. */
import { rowAxis, slice } from '../stage/tensors.ts'
import type { TensorData } from '../stage/types.ts'
import {
  epochOf,
  headerOf,
  type Chunk,
  type ChunkHeader,
  type NodePlan,
} from './chunk.ts'
import { PLAIN, type Frame } from './frame.ts'
import { write, type Fault } from './messages.ts'
import type { OwnSpan } from './routes.ts'

export interface StageSenderOptions {
  /** False: there is no link to that device. */
  readonly send: (device: string, frame: Frame) => boolean
  /** On the starter: the head ran. */
  readonly onLogits: (
    chunk: ChunkHeader,
    outputs: ReadonlyMap<string, TensorData>,
  ) => void
}

export class StageSender {
  readonly #options: StageSenderOptions
  /** Nothing is sent under other plans. */
  readonly #isServed: (plan: NodePlan) => boolean

  constructor(options: StageSenderOptions, isServed: (plan: NodePlan) => boolean) {
    this.#options = options
    this.#isServed = isServed
  }

  /** What a span computed. */
  give(own: OwnSpan, chunk: Chunk, outputs: ReadonlyMap<string, TensorData>): void {
    const { routes } = chunk.plan
    if (own.span.head && chunk.last) this.#options.onLogits(headerOf(chunk), outputs)
    for (const { index, name, tensor, to } of own.outputs) {
      const data = outputs.get(name)
      if (!data) {
        this.fault(chunk, 'broken')
        return
      }
      for (const { device, head } of to) {
        if (head && !chunk.last) continue
        const cut =
          head && routes.headLastRow && !chunk.draft ? rowAxis(tensor.dims) : null
        const { rows } = chunk
        const part = cut === null ? data : slice(data, cut, rows - 1, rows)
        const header =
          cut === null
            ? headerOf(chunk)
            : { ...headerOf(chunk), position: chunk.position + rows - 1, rows: 1 }
        const frame = {
          ...header,
          kind: 'hidden',
          tensor: index,
          dtype: tensor.dtype,
        } as const
        const payload = part.bytes
        if (!this.#send(chunk.plan, device, { ...frame, payload }))
          this.fault(chunk, 'unreachable')
      }
    }
    if (routes.lastStage && !chunk.last)
      this.#tell(chunk.plan, { ...PLAIN, ...headerOf(chunk), kind: 'passed' })
  }

  fault({ plan, sequence, attempt, position }: Chunk, code: Fault): void {
    const header = { ...PLAIN, sequence, attempt, position }
    this.#tell(plan, { ...header, kind: 'fault', payload: write({ code }) })
  }

  /** Only `position` rows can be built on here. */
  refuse(
    plan: NodePlan,
    chunk: Pick<ChunkHeader, 'sequence' | 'attempt'> & { readonly base?: number },
    position: number,
  ): void {
    const { sequence, attempt, base = 0 } = chunk
    this.#tell(plan, { ...PLAIN, kind: 'nack', sequence, attempt, base, position })
  }

  /** To the starter. */
  #tell(plan: NodePlan, frame: Omit<Frame, 'epoch'>): void {
    this.#send(plan, plan.routes.starter, frame)
  }

  #send(plan: NodePlan, device: string, frame: Omit<Frame, 'epoch'>): boolean {
    if (!this.#isServed(plan)) return true
    return this.#options.send(device, { ...frame, epoch: epochOf(plan) })
  }
}
