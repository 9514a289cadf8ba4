/** A clock whose timers run in a worker: browsers hold back those of a hidden page. */
import { systemClock, type Clock } from './clock.ts'

/** Falls back to the page's own timers where the worker does not start. */
export function workerClock(): Clock {
  const tasks = new Map<number, { readonly task: () => void; readonly due: number }>()
  let worker: Worker | null = null
  let last = 0
  const run = (id: number): void => {
    const found = tasks.get(id)
    tasks.delete(id)
    found?.task()
  }
  const giveUp = (): void => {
    worker = null
    for (const [id, { due }] of tasks)
      systemClock.after(Math.max(0, due - systemClock.now()), () => run(id))
  }
  try {
    worker = new Worker(new URL('./timers.worker.ts', import.meta.url), {
      type: 'module',
      name: 'timers',
    })
    worker.onmessage = ({ data }: MessageEvent<number>) => run(data)
    worker.onerror = giveUp
  } catch {
    worker = null
  }
  return {
    now: () => systemClock.now(),
    after(ms, task) {
      if (!worker) return systemClock.after(ms, task)
      last += 1
      const id = last
      tasks.set(id, { task, due: systemClock.now() + ms })
      worker.postMessage({ id, ms })
      return () => tasks.delete(id)
    },
  }
}
