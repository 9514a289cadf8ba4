/**
 * Who computes next on this device: one engine call at a time.
 *
 * Jobs of one sequence run in order. Among the sequences whose next job is a decoding step
 * (one row, or a draft), each gets one step between two prefill chunks, in order of arrival; prefill
 * chunks take turns among their sequences. So a step waits for one chunk at most, however
 * long a prompt is, and a prompt cannot starve.
 */
export interface Job {
  readonly sequence: number
  /** A decoding step; else a chunk of a prompt. */
  readonly isStep: boolean
  run(): Promise<void>
}

export class Scheduler {
  /** Sequences in order of arrival of their first job; no empty lists. */
  readonly #queues = new Map<number, Job[]>()
  /** Sequences that had a decoding step since the newest prefill chunk. */
  readonly #stepped = new Set<number>()
  readonly #onError: (error: unknown) => void
  #running = false

  constructor(onError: (error: unknown) => void = () => undefined) {
    this.#onError = onError
  }

  add(job: Job): void {
    const queue = this.#queues.get(job.sequence)
    if (queue) queue.push(job)
    else this.#queues.set(job.sequence, [job])
    void this.#work()
  }

  async #work(): Promise<void> {
    if (this.#running) return
    this.#running = true
    // Jobs of the same task get in line before the first one starts.
    await Promise.resolve()
    for (let job = this.#take(); job; job = this.#take()) {
      try {
        await job.run()
      } catch (error) {
        this.#onError(error)
      }
    }
    this.#running = false
  }

  #take(): Job | undefined {
    const heads = [...this.#queues].flatMap(([sequence, [job]]) =>
      job ? [{ sequence, job }] : [],
    )
    const steps = heads.filter(({ job }) => job.isStep)
    const next =
      steps.find(({ sequence }) => !this.#stepped.has(sequence)) ??
      heads.find(({ job }) => !job.isStep) ??
      steps[0]
    if (!next) return undefined
    const { sequence, job } = next
    if (!job.isStep || this.#stepped.has(sequence)) this.#stepped.clear()
    if (job.isStep) this.#stepped.add(sequence)
    const rest = this.#queues.get(sequence)?.slice(1) ?? []
    // To the end of the line: sequences take turns.
    this.#queues.delete(sequence)
    if (rest.length > 0) this.#queues.set(sequence, rest)
    return job
  }
}
