/** Both ends of a bulk channel in one process; messages arrive in order, each after `delay`. */
import type { BulkChannel } from '../bulk-port.ts'

export class FakeBulkChannel implements BulkChannel {
  readyState: RTCDataChannelState = 'open'
  bufferedAmount = 0
  bufferedAmountLowThreshold = 0
  onopen: BulkChannel['onopen'] = null
  onmessage: BulkChannel['onmessage'] = null
  onbufferedamountlow: BulkChannel['onbufferedamountlow'] = null
  onclose: BulkChannel['onclose'] = null
  /** The most that ever waited to be sent, bytes. */
  mostBuffered = 0
  /** What the other end sent, changed on its way; null swallows it. */
  tamper: (data: string | ArrayBuffer) => string | ArrayBuffer | null = (data) => data
  #other: FakeBulkChannel | null = null

  private constructor(private readonly later: (task: () => void) => void) {}

  static pair(later: (task: () => void) => void): [FakeBulkChannel, FakeBulkChannel] {
    const ends = [new FakeBulkChannel(later), new FakeBulkChannel(later)] as const
    ends[0].#other = ends[1]
    ends[1].#other = ends[0]
    return [...ends]
  }

  send(data: string | ArrayBuffer): void {
    if (this.readyState !== 'open') throw new Error('It is closed.')
    const size = typeof data === 'string' ? data.length : data.byteLength
    this.bufferedAmount += size
    this.mostBuffered = Math.max(this.mostBuffered, this.bufferedAmount)
    this.later(() => {
      const before = this.bufferedAmount
      this.bufferedAmount -= size
      const low = this.bufferedAmountLowThreshold
      if (before > low && this.bufferedAmount <= low)
        this.onbufferedamountlow?.(new Event('bufferedamountlow'))
      const arrived = this.#other?.tamper(data) ?? null
      if (arrived !== null)
        this.#other?.onmessage?.(new MessageEvent('message', { data: arrived }))
    })
  }

  close(): void {
    if (this.readyState === 'closed') return
    this.readyState = 'closed'
    this.onclose?.(new Event('close'))
    const other = this.#other
    this.later(() => other?.close())
  }
}
