/** The part of the browser's task scheduler that is used here; not every browser has it. */
interface TaskScheduler {
  postTask(task: () => void): Promise<void>
}

/**
 * Resolves once messages that have arrived by now were heard, for work that would go on
 * without ever giving them a turn. Timers are slower: browsers stretch them to 4 ms.
 */
export function nextTask(): Promise<void> {
  const { scheduler } = globalThis as { scheduler?: TaskScheduler }
  if (scheduler) return scheduler.postTask(() => undefined)
  return new Promise((resolve) => {
    // Node hears up to a thousand messages of one port before those of another.
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(null)
  })
}
