/** One line of progress on a terminal, and one sentence when something goes wrong. */

export function progressLine(): { show: (text: string) => void; clear: () => void } {
  const live = process.stderr.isTTY
  return {
    show: (text) => {
      if (live) process.stderr.write(`\r\u001b[2K${text}`)
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
