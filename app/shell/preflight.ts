/** A quick, cautious look at this browser, before the probe worker measures. */
import type { Preflight } from './services.ts'

/** What is read from the browser; all of it can be missing. */
export interface BrowserFacts {
  /** `navigator.deviceMemory`, GiB, at most 8 (Chromium only). */
  readonly deviceMemory: number | undefined
  readonly ios: boolean
  readonly secure: boolean
  readonly webrtc: boolean
  readonly wasm: boolean
  readonly gpuAdapter: boolean
}

const MB = 1e6

/**
 * iOS ends a page near 1.5 GB; elsewhere a tab gets a good part of the memory, but how much
 * can't be asked, so this starts low.
 */
export function judge(facts: BrowserFacts): Preflight {
  const problems: string[] = []
  if (!facts.wasm) problems.push('This browser is too old for Choir. Please update it.')
  else if (!facts.webrtc)
    problems.push(
      'This browser cannot connect phones: a room that is started here answers alone.',
    )
  else if (!facts.secure)
    problems.push(
      'This page was opened without https, so the camera and offline use do not work.',
    )
  const memoryBytes = facts.ios
    ? 900 * MB
    : Math.min(2000, Math.max(300, (facts.deviceMemory ?? 4) * 300)) * MB
  const engine = facts.gpuAdapter ? 'webgpu' : 'wasm'
  return { engine, memoryBytes, halved: false, problems }
}

export function isIos(agent: string, touchPoints: number): boolean {
  return /iPhone|iPad|iPod/.test(agent) || (/Macintosh/.test(agent) && touchPoints > 1)
}

async function hasAdapter(): Promise<boolean> {
  if (!('gpu' in navigator)) return false
  const gpu: unknown = navigator.gpu
  if (typeof gpu !== 'object' || gpu === null || !('requestAdapter' in gpu)) return false
  const { requestAdapter } = gpu
  if (typeof requestAdapter !== 'function') return false
  try {
    const adapter: unknown = await Reflect.apply(requestAdapter, gpu, [])
    return adapter !== null
  } catch {
    return false
  }
}

export async function quickPreflight(): Promise<Preflight> {
  const memory: unknown = 'deviceMemory' in navigator ? navigator.deviceMemory : undefined
  return judge({
    deviceMemory: typeof memory === 'number' ? memory : undefined,
    ios: isIos(navigator.userAgent, navigator.maxTouchPoints),
    secure: isSecureContext,
    webrtc: 'RTCPeerConnection' in globalThis,
    wasm: 'WebAssembly' in globalThis,
    gpuAdapter: await hasAdapter(),
  })
}
