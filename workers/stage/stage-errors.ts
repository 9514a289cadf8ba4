/** What a runtime threw, as one of our error kinds with a sentence for people. */
import { StageError } from './types.ts'

const OUT_OF_MEMORY =
  /bad_alloc|out of memory|OOM|allocation failed|failed to allocate|Invalid typed array length/i
const DEVICE_LOST =
  /device (is|was) lost|device lost|DXGI_ERROR|GPUDevice.*(lost|destroyed)/i

export type Doing = 'load' | 'run'

export function asStageError(error: unknown, doing: Doing): StageError {
  if (error instanceof StageError) return error
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  if (error instanceof RangeError || OUT_OF_MEMORY.test(text))
    return new StageError(
      'out-of-memory',
      'This device ran out of memory; give it fewer layers or a smaller model.',
      { cause: error },
    )
  if (DEVICE_LOST.test(text))
    return new StageError(
      'device-lost',
      'The graphics processor was lost; load the model again.',
      {
        cause: error,
      },
    )
  if (error instanceof Error && error.name === 'AbortError')
    return new StageError('aborted', 'The work was stopped.', { cause: error })
  return doing === 'load'
    ? new StageError(
        'bad-model',
        `This browser cannot run the model: ${firstLine(text)}`,
        {
          cause: error,
        },
      )
    : new StageError('internal', `A part of the model failed: ${firstLine(text)}`, {
        cause: error,
      })
}

function firstLine(text: string): string {
  return (text.split('\n')[0] ?? '').slice(0, 300)
}

/** Rejects with `aborted` or `timeout` where the work does not end first. */
export async function withDeadline<T>(
  work: Promise<T>,
  { ms, signal }: { readonly ms: number; readonly signal?: AbortSignal | undefined },
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  let onAbort: (() => void) | undefined
  const stop = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const seconds = Math.round(ms / 1000)
      reject(
        new StageError(
          'timeout',
          `The model did not load within ${seconds} s; open it again.`,
        ),
      )
    }, ms)
    onAbort = () => {
      reject(new StageError('aborted', 'Loading the model was stopped.'))
    }
    if (signal?.aborted) onAbort()
    signal?.addEventListener('abort', onAbort)
  })
  try {
    return await Promise.race([work, stop])
  } finally {
    clearTimeout(timer)
    if (onAbort) signal?.removeEventListener('abort', onAbort)
  }
}

/** Runs one task at a time, in the order of asking. A failed task does not stop the next. */
export class Mutex {
  #last: Promise<unknown> = Promise.resolve()

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task)
    this.#last = result.catch(() => undefined)
    return result
  }
}
