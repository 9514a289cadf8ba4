/** Reads QR codes off the page's thread. */
import { expose } from 'comlink'
import { decodeQR } from 'qr/decode.js'

export interface Picture {
  readonly data: Uint8ClampedArray
  readonly width: number
  readonly height: number
}

export interface QrApi {
  /** The text in the picture, or null. A bitmap is closed. */
  decode(picture: ImageBitmap | Picture): string | null
  /** Whether bitmaps can be drawn here. */
  drawsBitmaps(): boolean
}

let context: OffscreenCanvasRenderingContext2D | null | undefined

function pixels(bitmap: ImageBitmap): Picture | null {
  context ??= new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })
  if (!context) return null
  const { width, height } = bitmap
  context.canvas.width = width
  context.canvas.height = height
  context.drawImage(bitmap, 0, 0)
  bitmap.close()
  return context.getImageData(0, 0, width, height)
}

const api: QrApi = {
  decode(picture) {
    const image = 'close' in picture ? pixels(picture) : picture
    if (!image) return null
    try {
      return decodeQR(image)
    } catch {
      // No code in this frame; the next one comes soon.
      return null
    }
  },
  drawsBitmaps: () => typeof OffscreenCanvas === 'function',
}

expose(api)
