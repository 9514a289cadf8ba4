/** Frames for a worker where the browser cannot move the data channel itself there. */
import type { FrameChannel } from './link.ts'

let movable: boolean | null = null

/** Whether a data channel can be transferred; felt for once. */
export function channelsMove(): boolean {
  if (movable !== null) return movable
  const connection = new RTCPeerConnection()
  const { port1, port2 } = new MessageChannel()
  try {
    const channel = connection.createDataChannel('probe')
    port1.postMessage(channel, [channel])
    movable = true
  } catch {
    movable = false
  }
  port1.close()
  port2.close()
  connection.close()
  return movable
}

/** The channel itself, or a port to it; in the task in which the channel came to be. */
export function frameChannel(channel: RTCDataChannel): FrameChannel {
  return channelsMove() ? channel : relay(channel)
}

/** Passes messages on both ways; what is sent before the channel is open waits. */
export function relay(channel: RTCDataChannel): MessagePort {
  const { port1, port2 } = new MessageChannel()
  const waiting: ArrayBuffer[] = []
  channel.binaryType = 'arraybuffer'
  const send = (data: ArrayBuffer): void => {
    try {
      channel.send(data)
    } catch {
      // Its buffer is full or it is closing: nobody reads there any more.
      channel.close()
    }
  }
  channel.onopen = () => waiting.splice(0).forEach(send)
  channel.onmessage = ({ data }: MessageEvent<unknown>) => {
    if (data instanceof ArrayBuffer) port1.postMessage(data, [data])
  }
  channel.onclose = () => port1.close()
  port1.onmessage = ({ data }: MessageEvent<unknown>) => {
    const bytes = asBuffer(data)
    if (!bytes) return
    if (channel.readyState === 'connecting') waiting.push(bytes)
    else if (channel.readyState === 'open') send(bytes)
  }
  return port2
}

function asBuffer(data: unknown): ArrayBuffer | null {
  if (data instanceof ArrayBuffer) return data
  if (ArrayBuffer.isView(data)) {
    const copy = new Uint8Array(data.byteLength)
    copy.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    return copy.buffer
  }
  return null
}
