/** Progress on a terminal or in a log, and one sentence when something goes wrong. */

/** Into a file or pipe a line goes this often at most, in milliseconds. */
const BETWEEN_LINES = 1000

export function progressLine(): { show: (text: string) => void; clear: () => void } {
  const live = process.stderr.isTTY
  let last = Date.now()
  return {
    show: (text) => {
      if (live) process.stderr.write(`\r\u001b[2K${text}`)
      else if (Date.now() - last >= BETWEEN_LINES) {
        last = Date.now()
        console.log(text)
      }
    },
    clear: () => {
      if (live) process.stderr.write('\r\u001b[2K')
    },
  }
}

/** Prints the message alone, no stack trace, and sets the exit code. */
export function fail(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  console.error(message.replace(/\s*\n\s*/g, ' '))
  process.exitCode = 1
}

/** Ends the process on Ctrl-C in a way that lets exit handlers remove what is half done. */
export function endOnSignals(): void {
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ] as const)
    process.once(signal, () => process.exit(128 + number))
}
