/** The page of one end of a bare data channel; see bare.worker.ts. */
import { transfer, wrap } from 'comlink'
import type { Bare } from './bare.worker.ts'

const worker = new Worker(new URL('./bare.worker.ts', import.meta.url), {
  type: 'module',
})
const remote = wrap<Bare>(worker)
const connection = new RTCPeerConnection()

const bare = {
  /** Both ends, first of all. */
  async open(): Promise<void> {
    const channel = connection.createDataChannel('bare', { negotiated: true, id: 1 })
    await remote.take(transfer(channel, [channel]))
  },
  async offer(): Promise<string> {
    await connection.setLocalDescription(await connection.createOffer())
    return complete()
  },
  async answer(sdp: string): Promise<string> {
    await connection.setRemoteDescription({ type: 'offer', sdp })
    await connection.setLocalDescription(await connection.createAnswer())
    return complete()
  },
  async accept(sdp: string): Promise<void> {
    await connection.setRemoteDescription({ type: 'answer', sdp })
  },
  echo: (workMs: number) => remote.echo(workMs),
  times: (count: number, bytes: number, workMs: number) =>
    remote.times(count, bytes, workMs),
}
Object.assign(window, { bare })

/** The description with all candidates in it. */
async function complete(): Promise<string> {
  if (connection.iceGatheringState !== 'complete')
    await new Promise<void>((resolve) => {
      connection.addEventListener('icegatheringstatechange', () => {
        if (connection.iceGatheringState === 'complete') resolve()
      })
    })
  return connection.localDescription?.sdp ?? ''
}

declare global {
  interface Window {
    bare: typeof bare
  }
}
