/**
 * Who computes next on this device: one call of the engine at a time.
 *
 * Jobs of one sequence run in order. Among the sequences whose next job is a decoding step
 * (one row, or a draft), each gets one step between two prefill chunks, in order of arrival; prefill
 * chunks take turns among their sequences. So a step waits for one chunk at most, however
 * long a prompt is, and a prompt cannot starve.
 *
 * A step whose turn it is takes others along that wait for the same work, as many as that work
 * can do at once; it never waits for more.
 */
export interface Job<Task = unknown> {
  readonly sequence: number
  /** A decoding step; else a chunk of a prompt. */
  readonly isStep: boolean
  readonly task: Task
  readonly work: Work<Task>
}

/** What jobs of one kind do. */
export interface Work<Task> {
  /** How many steps may run at once, where those of these sequences wait. */
  most(sequences: readonly number[]): number
  run(tasks: readonly Task[]): Promise<void>
}

/** One function after another. */
export const CALLS: Work<() => Promise<void>> = {
  most: () => 1,
  async run(calls) {
    for (const call of calls) await call()
  },
}

export class Scheduler {
  /** Sequences in order of arrival of their first job; no empty lists. */
  readonly #queues = new Map<number, Job[]>()
  /** Sequences that had a decoding step since the newest prefill chunk. */
  readonly #stepped = new Set<number>()
  readonly #onError: (error: unknown) => void
  readonly #listen: () => Promise<void>
  #running = false

  /** @param listen lets in, after each call, what has arrived meanwhile. */
  constructor(
    onError: (error: unknown) => void = () => undefined,
    listen: () => Promise<void> = () => Promise.resolve(),
  ) {
    this.#onError = onError
    this.#listen = listen
  }

  add<Task>(job: Job<Task>): void {
    const queue = this.#queues.get(job.sequence)
    if (queue) queue.push(job)
    else this.#queues.set(job.sequence, [job])
    void this.#work()
  }

  async #work(): Promise<void> {
    if (this.#running) return
    this.#running = true
    // What came in the same message is added before the first call.
    await Promise.resolve()
    for (let jobs = this.#take(); jobs.length > 0; jobs = this.#take()) {
      try {
        await jobs[0]?.work.run(jobs.map(({ task }) => task))
      } catch (error) {
        this.#onError(error)
      }
      await this.#listen()
    }
    this.#running = false
  }

  /** What runs next, at once. */
  #take(): Job[] {
    const heads = [...this.#queues.values()].flatMap(([job]) => job ?? [])
    const steps = heads.filter(({ isStep }) => isStep)
    const hasStepped = ({ sequence }: Job) => this.#stepped.has(sequence)
    const next =
      steps.find((job) => !hasStepped(job)) ??
      heads.find(({ isStep }) => !isStep) ??
      steps[0]
    if (!next) return []
    if (!next.isStep || hasStepped(next)) this.#stepped.clear()
    const { work } = next
    const alike = steps.filter((job) => job.work === work && !hasStepped(job))
    const most = next.isStep ? work.most(alike.map(({ sequence }) => sequence)) : 1
    const jobs = [next, ...alike.filter((job) => job !== next)].slice(0, most)
    for (const { sequence, isStep } of jobs) {
      if (isStep) this.#stepped.add(sequence)
      const rest = this.#queues.get(sequence)?.slice(1) ?? []
      // To the end of the line: sequences take turns.
      this.#queues.delete(sequence)
      if (rest.length > 0) this.#queues.set(sequence, rest)
    }
    return jobs
  }
}
