/** One end of a wire, for tests that look at what it was given. */
import type { Wire } from '../link-port.ts'

export class FakeWire implements Wire {
  readonly sent: Uint8Array[] = []
  /** Messages that it takes. */
  room = Infinity
  quiet = true
  closed = false
  throwing = false
  /** Where messages arrive at once, unless they are lost. */
  other: FakeWire | null = null
  lost = false
  onReady = () => undefined
  onMessage: (message: Uint8Array) => void = () => undefined
  onClosed = () => undefined
  ready(): boolean {
    return this.room > 0
  }
  idle(): boolean {
    return this.quiet
  }
  send(message: Uint8Array): void {
    if (this.throwing) throw new Error('closed')
    this.room--
    this.sent.push(message)
    if (!this.lost) this.other?.onMessage(message.slice())
  }
  close(): void {
    this.closed = true
  }
}
