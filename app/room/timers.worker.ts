/** Timers that a hidden tab does not slow down: see worker-clock.ts. */
interface Order {
  readonly id: number
  readonly ms: number
}

self.onmessage = ({ data }: MessageEvent<Order>) => {
  setTimeout(() => self.postMessage(data.id), data.ms)
}
