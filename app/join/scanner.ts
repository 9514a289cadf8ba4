/** From camera frames to texts: the browser's own detector, or a decoder in a worker. */
import { transfer, wrap, type Remote } from 'comlink'
import type { QrApi } from './qr.worker.ts'

/** Finds a text in what the video shows now. */
export interface Detector {
  detect(video: HTMLVideoElement): Promise<string | null>
  close(): void
}

interface NativeDetector {
  detect(source: HTMLVideoElement): Promise<readonly { readonly rawValue: string }[]>
}

interface NativeDetectorClass {
  new (options: { formats: string[] }): NativeDetector
  getSupportedFormats(): Promise<readonly string[]>
}

function nativeClass(): NativeDetectorClass | null {
  const found: unknown = Reflect.get(globalThis, 'BarcodeDetector')
  return typeof found === 'function' ? (found as unknown as NativeDetectorClass) : null
}

/** Longer sides are shrunk: a code that fills a fifth of the picture still reads well. */
const LONGEST_SIDE = 960

export async function openDetector(): Promise<Detector> {
  const native = nativeClass()
  const formats = await native?.getSupportedFormats().catch((): string[] => [])
  if (native && formats?.includes('qr_code')) {
    const detector = new native({ formats: ['qr_code'] })
    return {
      detect: async (video) => (await detector.detect(video))[0]?.rawValue ?? null,
      close: () => undefined,
    }
  }
  const worker = new Worker(new URL('./qr.worker.ts', import.meta.url), {
    type: 'module',
  })
  const api = wrap<QrApi>(worker)
  const grab = (await canUseBitmaps(api)) ? bitmapOf : picturesOf()
  return {
    async detect(video) {
      const frame = await grab(video)
      const part = frame instanceof ImageBitmap ? frame : frame.data.buffer
      return api.decode(transfer(frame, [part]))
    },
    close: () => worker.terminate(),
  }
}

async function canUseBitmaps(api: Remote<QrApi>): Promise<boolean> {
  return typeof createImageBitmap === 'function' && (await api.drawsBitmaps())
}

function sizeOf(video: HTMLVideoElement): { width: number; height: number } {
  const { videoWidth, videoHeight } = video
  const scale = Math.min(1, LONGEST_SIDE / Math.max(videoWidth, videoHeight))
  return {
    width: Math.round(videoWidth * scale),
    height: Math.round(videoHeight * scale),
  }
}

function bitmapOf(video: HTMLVideoElement): Promise<ImageBitmap> {
  const { width, height } = sizeOf(video)
  return createImageBitmap(video, { resizeWidth: width, resizeHeight: height })
}

function picturesOf(): (video: HTMLVideoElement) => Promise<ImageData> {
  const canvas = document.createElement('canvas')
  const context = canvas.getContext('2d', { willReadFrequently: true })
  return (video) => {
    const { width, height } = sizeOf(video)
    if (!context)
      return Promise.reject(new Error('This browser gives no pictures to scan.'))
    canvas.width = width
    canvas.height = height
    context.drawImage(video, 0, 0, width, height)
    return Promise.resolve(context.getImageData(0, 0, width, height))
  }
}

/**
 * Opens the camera that looks away from the person; it stops when `signal` aborts.
 * @throws Error with one sentence for people.
 */
export async function openCamera(
  video: HTMLVideoElement,
  signal: AbortSignal,
): Promise<void> {
  if (!('mediaDevices' in navigator))
    throw new Error(
      'The camera only works on a secure (https) page. Paste the link instead.',
    )
  let stream: MediaStream
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { facingMode: { ideal: 'environment' }, width: { ideal: 1280 } },
    })
  } catch (error) {
    throw new Error(cameraWords(error), { cause: error })
  }
  const stop = (): void => {
    for (const track of stream.getTracks()) track.stop()
    video.srcObject = null
  }
  if (signal.aborted) {
    stop()
    return
  }
  signal.addEventListener('abort', stop, { once: true })
  video.srcObject = stream
  await video.play().catch(() => undefined)
}

export function cameraWords(error: unknown): string {
  const name = error instanceof Error ? error.name : ''
  if (name === 'NotAllowedError' || name === 'SecurityError')
    return 'The camera is not allowed for this page. Allow it in your browser, or use the link instead.'
  if (name === 'NotFoundError' || name === 'OverconstrainedError')
    return 'No camera was found. Use the link or the code instead.'
  if (name === 'NotReadableError')
    return 'Another app is using the camera. Close it and try again, or use the link instead.'
  return 'The camera did not start. Use the link or the code instead.'
}
