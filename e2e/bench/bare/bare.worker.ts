/** Messages back and forth over a data channel that lives in a worker, and nothing else. */
import { expose } from 'comlink'

let open: Promise<RTCDataChannel> = new Promise(() => undefined)

/** As a stage computes before it answers. */
function work(ms: number): void {
  for (const start = performance.now(); performance.now() - start < ms;);
}

const bare = {
  take(channel: RTCDataChannel): void {
    channel.binaryType = 'arraybuffer'
    open = new Promise((resolve) => {
      if (channel.readyState === 'open') resolve(channel)
      else channel.onopen = () => resolve(channel)
    })
  },

  /** From now on each message goes back after so much work. */
  async echo(workMs: number): Promise<void> {
    const channel = await open
    channel.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => {
      work(workMs)
      channel.send(data)
    }
  },

  /** Each message's time there and back, without the work at the other end, ms. */
  async times(count: number, bytes: number, workMs: number): Promise<number[]> {
    const channel = await open
    const times: number[] = []
    for (let i = 0; i < count; i++) {
      work(workMs)
      const began = performance.now()
      const back = new Promise((resolve) => (channel.onmessage = resolve))
      channel.send(new ArrayBuffer(bytes))
      await back
      times.push(performance.now() - began - workMs)
    }
    return times
  },
}

export type Bare = typeof bare

expose(bare)
